"""Metadata of the server and of models in the format of the protocol."""

from collections.abc import Iterable
from typing import Any

import orjson

from app.oip import outputs
from app.oip.image_inputs import INPUT
from app.oip.table_inputs import INPUT as ROWS
from app.services.prediction.version_cache import ServedModel
from app.serving.types import DEFAULT_PRIORITY, NUM_PRIORITIES

PLATFORM = "pytorch_safetensors"
"""The platform name. The protocol has no name for this format; custom names have the form `<project>_<format>`."""

EXTENSIONS = [
    "classification",
    "model_repository",
    "model_repository(unload_dependents)",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "schedule_policy",
]


def describe_server(version: str) -> dict[str, Any]:
    """Return the body of `GET /v2`, including the list of supported extensions."""
    return {"name": "candela", "version": version, "extensions": EXTENSIONS}


def describe_model(model: ServedModel, versions: Iterable[int]) -> dict[str, Any]:
    """Return the body of `GET /v2/models/{model}`. In shapes, -1 is the variable batch size."""
    return {
        "name": model.name,
        "versions": [str(version) for version in sorted(versions)],
        "platform": PLATFORM,
        "inputs": [_describe_input(model)],
        "outputs": [
            {
                "name": name,
                "datatype": "FP32",
                "shape": [-1, outputs.get_output_width(name, model.task, model.num_outputs)],
            }
            for name in outputs.list_default_outputs(model.task)
        ],
    }


def describe_config(model: ServedModel, max_batch_size: int) -> dict[str, Any]:
    """Return the body of `GET /v2/models/{model}/config`: a ModelConfig of Triton as JSON."""
    return {
        "name": model.name,
        "platform": "",
        "backend": "pytorch",
        "version_policy": {"all": {}},
        "max_batch_size": max_batch_size,
        "input": [_describe_config_input(model)],
        "output": [
            {"name": output["name"], "data_type": "TYPE_FP32", "dims": output["shape"][1:], "label_filename": ""}
            for output in describe_model(model, [])["outputs"]
        ],
        "dynamic_batching": {
            "preferred_batch_size": [],
            "max_queue_delay_microseconds": 0,
            "priority_levels": NUM_PRIORITIES,
            "default_priority_level": DEFAULT_PRIORITY,
        },
        "parameters": {
            "task": {"string_value": model.task},
            "classes": {"string_value": orjson.dumps(list(model.classes)).decode()},
        },
    }


def _describe_input(model: ServedModel) -> dict[str, Any]:
    if model.table is not None:
        return {"name": ROWS, "datatype": "FP32", "shape": [-1, *model.table.sample_shape]}
    return {"name": INPUT, "datatype": "UINT8", "shape": [-1, *_channels_last(model)]}


def _describe_config_input(model: ServedModel) -> dict[str, Any]:
    described = _describe_input(model)
    layout = "FORMAT_NHWC" if model.table is None else "FORMAT_NONE"
    return {
        "name": described["name"],
        "data_type": f"TYPE_{described['datatype']}",
        "format": layout,
        "dims": described["shape"][1:],
    }


def _channels_last(model: ServedModel) -> tuple[int, int, int]:
    channels, height, width = model.image_shape
    return height, width, channels
