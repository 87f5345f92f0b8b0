"""JSON documents that are small or valid to read but expensive to parse, validate or report."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

Document = bytes
SPEC: dict[str, Any] = {"dataset": {"name": "digits"}, "architecture": {"name": "mlp"}}


def repeat(value: bytes, count: int) -> bytes:
    """Return an array of equal values."""
    return b"[" + b",".join([value] * count) + b"]"


def build_object(count: int) -> dict[str, int]:
    """Return an object with distinct short keys."""
    return {f"k{index}": 1 for index in range(count)}


def build_spec(**changes: Any) -> Document:
    """Return a training job with the given changes."""
    return orjson.dumps(SPEC | changes)


JOBS: Mapping[str, Callable[[int], Document]] = {
    "unknown keys": lambda count: build_spec(**build_object(count)),
    "unknown keys of an optimizer": lambda count: build_spec(optimizer={"name": "adam"} | build_object(count)),
    "unknown keys of an architecture": lambda count: build_spec(architecture={"name": "mlp"} | build_object(count)),
    "unknown keys of a dataset": lambda count: build_spec(dataset={"name": "digits"} | build_object(count)),
    "unknown metrics": lambda count: build_spec(metrics=[f"a{index}" for index in range(count)]),
    "unknown callbacks": lambda count: build_spec(callbacks=[{"name": f"a{index}"} for index in range(count)]),
    "many callbacks": lambda count: build_spec(callbacks=[{"name": "early_stopping"}] * count),
    "many patterns": lambda count: build_spec(freeze=[f"*a*{index}" for index in range(count)]),
    "many transforms": lambda count: build_spec(
        dataset={"name": "digits", "train_transforms": [{"name": "affine", "degrees": 5.0}] * count}
    ),
    "null weights": lambda count: build_spec(loss={"name": "nll", "class_weights": [None] * count}),
    "a long key": lambda count: build_spec(**{"k" * count: 1}),
    "a long name": lambda count: build_spec(name="n" * count),
    "a long metric": lambda count: build_spec(metrics=["m" * count]),
    "a long pattern": lambda count: build_spec(freeze=["*a" * count + "b"]),
    "a long number": lambda count: (
        b'{"dataset":{"name":"digits"},"architecture":{"name":"mlp"},"seed":' + b"9" * count + b"}"
    ),
}
"""Jobs of any size, each of which is invalid."""

NESTED: Mapping[str, Callable[[int], Document]] = {
    "brackets": lambda count: b"[" * count,
    "balanced brackets": lambda count: b"[" * count + b"]" * count,
    "objects": lambda count: b'{"a":' * count,
}
"""Documents that are nested too deeply."""

VALUES: Mapping[str, Callable[[int], bytes]] = {
    "numbers": lambda count: repeat(b"1", count),
    "empty arrays": lambda count: repeat(b"[]", count),
    "empty objects": lambda count: repeat(b"{}", count),
    "empty strings": lambda count: repeat(b'""', count),
    "nulls": lambda count: repeat(b"null", count),
    "pairs": lambda count: repeat(b"[1,2]", count),
    "distinct keys": lambda count: orjson.dumps(build_object(count)),
}
"""JSON values with about `count` members."""


def build_instances(values: bytes) -> Document:
    """Return a prediction request with one instance, whose `values` are given."""
    return b'{"instances":[{"values":' + values + b"}]}"


def build_tensor(data: bytes, shape: list[int], datatype: str = "UINT8") -> Document:
    """Return a request of the Open Inference Protocol with one tensor in JSON."""
    head = {"name": "image", "datatype": datatype, "shape": shape}
    return b'{"inputs":[' + orjson.dumps(head)[:-1] + b',"data":' + data + b"}]}"


def build_binary_tensor(body: bytes, shape: list[int], datatype: str = "BYTES") -> tuple[Document, dict[str, str]]:
    """Return a binary request of the Open Inference Protocol and its headers."""
    tensor = {
        "name": "image",
        "datatype": datatype,
        "shape": shape,
        "parameters": {"binary_data_size": len(body)},
    }
    head = orjson.dumps({"inputs": [tensor]})
    return head + body, {"Inference-Header-Content-Length": str(len(head))}


def build_dataset(values: bytes) -> Document:
    """Return an inline dataset whose inputs are given."""
    return b'{"name":"toy","inputs":' + values + b',"targets":[1]}'
