"""Changes fields of a job spec from the command line, for example `optimizer.lr=0.01`."""

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from candela.errors import CandelaError


class Override(NamedTuple):
    """A change of a spec: the path of the field, the new value, and whether it is appended to a list."""

    text: str
    path: tuple[str, ...]
    value: Any
    appends: bool


def parse_overrides(arguments: Sequence[str]) -> list[Override]:
    """Parse arguments such as `optimizer.lr=0.01`, `callbacks.0.patience=3` or `metrics+=f1`. Values are YAML.

    Raises:
        CandelaError: an argument has another form, or its value is not valid YAML.
    """
    from candela.specs import parse_yaml

    overrides = []
    for text in arguments:
        path, equals, value = text.partition("=")
        appends = path.endswith("+")
        keys = tuple(path.removesuffix("+").split("."))
        if not equals or not all(keys):
            raise CandelaError(f"{text!r} must have the form FIELD=VALUE, for example optimizer.lr=0.01")
        overrides.append(Override(text, keys, parse_yaml(value, text), appends))
    return overrides


def apply_overrides(spec: Mapping[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    """Return a copy of the spec with the changes, in their order. The server validates the result.

    Raises:
        CandelaError: a path goes through a number or a text, or an index is not in its list.
    """
    changed = copy.deepcopy(dict(spec))
    for override in overrides:
        parent, last = _find_parent(changed, override)
        if override.appends:
            _append_value(parent, last, override)
        else:
            _set_value(parent, last, override)
    return changed


def list_missing_objects(spec: Mapping[str, Any], overrides: Sequence[Override]) -> list[str]:
    """Return the fields that the spec does not have and of whose objects only parts are set, as in `optimizer.lr=1`."""
    whole = {override.path[0] for override in overrides if len(override.path) == 1}
    parts = {override.path[0] for override in overrides if len(override.path) > 1 and not override.path[1].isdecimal()}
    return sorted(field for field in parts - whole if spec.get(field) is None)


def build_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON merge patch (RFC 7396) that changes `before` to `after`."""
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if key in before and old == value:
            continue
        is_nested = isinstance(old, Mapping) and isinstance(value, Mapping) and old.get("name") == value.get("name")
        patch[key] = build_patch(old, value) if is_nested and isinstance(old, Mapping) else value
    return patch


def _find_parent(spec: dict[str, Any], override: Override) -> tuple[Any, str]:
    """Return the object or list that contains the field. Missing objects on the way are created."""
    parent: Any = spec
    for key, next_key in pairwise(override.path):
        if isinstance(parent, list):
            index = _parse_index(parent, key, override)
            parent[index] = child = _expand_value(parent[index], next_key)
        elif isinstance(parent, dict):
            parent[key] = child = _expand_value(parent.get(key), next_key)
        else:
            raise _build_error(override, key, parent)
        parent = child
    return parent, override.path[-1]


def _expand_value(value: Any, next_key: str) -> Any:  # noqa: ANN401 - any part of a spec
    """Return the object whose short form is a name: `adam` is `{"name": "adam"}`. A missing value is created empty."""
    if value is None:
        return [] if next_key.isdecimal() else {}
    return {"name": value} if isinstance(value, str) else value


def _set_value(parent: Any, key: str, override: Override) -> None:  # noqa: ANN401 - any part of a spec
    if isinstance(parent, dict):
        parent[key] = override.value
    elif isinstance(parent, list) and key == str(len(parent)):
        parent.append(override.value)
    elif isinstance(parent, list):
        parent[_parse_index(parent, key, override)] = override.value
    else:
        raise _build_error(override, key, parent)


def _append_value(parent: Any, key: str, override: Override) -> None:  # noqa: ANN401 - any part of a spec
    if isinstance(parent, list):
        target = parent[_parse_index(parent, key, override)]
    elif isinstance(parent, dict):
        target = parent.setdefault(key, [])
    else:
        raise _build_error(override, key, parent)
    if not isinstance(target, list):
        raise CandelaError(f"{override.text!r}: {'.'.join(override.path)} is not a list, so += cannot append to it")
    target.append(override.value)


def _parse_index(values: list[Any], key: str, override: Override) -> int:
    if key.isascii() and key.isdecimal() and int(key) < len(values):
        return int(key)
    valid = f"indexes from 0 to {len(values) - 1}" if values else "no entries"
    raise CandelaError(f"{override.text!r}: {key!r} is not an index of a list with {valid}")


def _build_error(override: Override, key: str, parent: object) -> CandelaError:
    return CandelaError(f"{override.text!r}: {key!r} cannot be set, because the part before it is {parent!r}")
