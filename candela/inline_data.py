"""Encodes data in memory, such as arrays, as the JSON body of a dataset version."""

import json
from collections.abc import Mapping
from typing import Any

from candela.errors import CandelaError


def encode_inline_data(name: str, inputs: Any, targets: Any, options: Mapping[str, Any]) -> str:  # noqa: ANN401 - any array
    """Return the JSON body of `POST /v1/datasets`.

    Raises:
        CandelaError: a value cannot be encoded as JSON, such as NaN.
    """
    body = {"name": name, "inputs": _to_lists(inputs), **{key: _to_lists(value) for key, value in options.items()}}
    if targets is not None:
        body["targets"] = _to_lists(targets)
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise CandelaError(f"dataset {name!r} cannot be sent as JSON: {error}") from error


def _to_lists(values: Any) -> Any:  # noqa: ANN401 - arrays, lists or scalars
    """Convert arrays to nested lists, including arrays inside lists."""
    if hasattr(values, "tolist"):
        return values.tolist()
    return [_to_lists(value) for value in values] if isinstance(values, list | tuple) else values
