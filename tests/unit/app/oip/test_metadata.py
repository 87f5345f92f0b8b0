"""What the protocol is told of a model."""

import json

import pytest

from app.oip import metadata, statistics
from app.services.prediction.version_cache import ServedModel
from app.serving.statistics import InferenceStatistics
from app.serving.types import BundleRef


def served(task: str = "classification", **changes: object) -> ServedModel:
    known = ServedModel(
        name="cats",
        version=3,
        bundle=BundleRef("key", (), "cats"),
        task=task,
        classes=("cat", "dog"),
        image_shape=(3, 32, 64),
        resize="stretch",
        num_outputs=2,
    )
    return known._replace(**changes)  # type: ignore[arg-type]  # one changed field, visible in the test


def test_the_server_lists_what_it_has_and_nothing_else() -> None:
    found = metadata.describe_server("1.2.3")
    assert (found["name"], found["version"]) == ("candela", "1.2.3")
    assert not {"sequence", "system_shared_memory", "cuda_shared_memory", "trace", "logging"} & set(found["extensions"])


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("classification", ["probabilities", "logits"]),
        ("multilabel", ["probabilities", "logits"]),
        ("binary", ["probabilities", "logits"]),
        ("regression", ["values"]),
    ],
)
def test_metadata_and_configuration_name_the_same_tensors(task: str, names: list[str]) -> None:
    model, config = metadata.describe_model(served(task), [3, 1, 2]), metadata.describe_config(served(task), 32)
    assert model["versions"] == ["1", "2", "3"]
    assert model["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 32, 64, 3]}]
    assert model["outputs"] == [{"name": name, "datatype": "FP32", "shape": [-1, 2]} for name in names]
    assert config["max_batch_size"] == 32
    for kind in ("input", "output"):
        assert [(each["name"], each["data_type"], [-1, *each["dims"]]) for each in config[kind]] == [
            (each["name"], f"TYPE_{each['datatype']}", each["shape"]) for each in model[f"{kind}s"]
        ]
    assert json.loads(config["parameters"]["classes"]["string_value"]) == ["cat", "dog"]
    batching = config["dynamic_batching"]
    assert (batching["priority_levels"], batching["default_priority_level"]) == (3, 2)


def test_statistics_add_up() -> None:
    tally = InferenceStatistics(clock=lambda: 12.5)
    for size, seconds in ((1, 0.5), (4, 1.0), (4, 2.0)):
        tally.count_batch(size, seconds)
    tally.count_request(0.25, succeeded=True)
    tally.count_request(0.5, succeeded=False)
    tally.count_wait(0.125)
    tally.count_decoding(0.0625)
    (found,) = statistics.build_statistics([(served(), tally, {})])["model_stats"]
    assert (found["name"], found["version"], found["last_inference"]) == ("cats", "3", 12_500)
    assert (found["inference_count"], found["execution_count"]) == (9, 3)
    assert found["inference_stats"]["success"] == {"count": 1, "ns": 250_000_000}
    assert found["inference_stats"]["fail"] == {"count": 1, "ns": 500_000_000}
    assert found["inference_stats"]["queue"] == {"count": 1, "ns": 125_000_000}
    assert found["inference_stats"]["compute_input"] == {"count": 1, "ns": 62_500_000}
    assert found["inference_stats"]["compute_output"] == {"count": 0, "ns": 0}
    assert found["inference_stats"]["compute_infer"] == {"count": 3, "ns": 3_500_000_000}
    assert [(each["batch_size"], each["compute_infer"]) for each in found["batch_stats"]] == [
        (1, {"count": 1, "ns": 500_000_000}),
        (4, {"count": 2, "ns": 3_000_000_000}),
    ]


def test_a_model_that_did_nothing_has_zeros() -> None:
    (found,) = statistics.build_statistics([(served(), InferenceStatistics(), {})])["model_stats"]
    assert (found["last_inference"], found["inference_count"], found["execution_count"]) == (0, 0, 0)
    assert found["batch_stats"] == []
    assert found["memory_usage"] == []


def test_memory_is_told_by_device() -> None:
    (found,) = statistics.build_statistics([(served(), InferenceStatistics(), {"cuda:1": 300, "cpu": 20})])[
        "model_stats"
    ]
    assert found["memory_usage"] == [
        {"type": "CPU", "id": 0, "byte_size": 20},
        {"type": "GPU", "id": 1, "byte_size": 300},
    ]
