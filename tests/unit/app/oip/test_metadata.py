"""Metadata of the server and of models."""

import json

import pytest

from app.oip import metadata
from tests.support.served_models import build_served_model


def test_server_lists_only_implemented_extensions() -> None:
    body = metadata.describe_server("1.2.3")
    assert (body["name"], body["version"]) == ("candela", "1.2.3")
    assert not {"sequence", "system_shared_memory", "cuda_shared_memory", "trace", "logging"} & set(body["extensions"])


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("classification", ["probabilities"]),
        ("multilabel", ["probabilities"]),
        ("binary", ["probabilities"]),
        ("regression", ["values"]),
    ],
)
def test_metadata_and_configuration_have_the_same_tensors(task: str, names: list[str]) -> None:
    model, config = (
        metadata.describe_model(build_served_model(task), [3, 1, 2]),
        metadata.describe_config(build_served_model(task), 32),
    )
    assert model["versions"] == ["1", "2", "3"]
    assert model["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 32, 64, 3]}]
    assert model["outputs"] == [{"name": name, "datatype": "FP32", "shape": [-1, 2]} for name in names]
    assert config["max_batch_size"] == 32
    for kind in ("input", "output"):
        assert [(entry["name"], entry["data_type"], [-1, *entry["dims"]]) for entry in config[kind]] == [
            (entry["name"], f"TYPE_{entry['datatype']}", entry["shape"]) for entry in model[f"{kind}s"]
        ]
    assert json.loads(config["parameters"]["classes"]["string_value"]) == ["cat", "dog"]
    batching = config["dynamic_batching"]
    assert (batching["priority_levels"], batching["default_priority_level"]) == (3, 2)
