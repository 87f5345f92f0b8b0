"""Merges changes into the spec of a job that is cloned."""

from collections.abc import Mapping
from typing import Any


def apply_merge_patch(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Apply a JSON merge patch (RFC 7396), but replace an object completely if its `name` changes.

    A string in place of an object with a `name` is this name, as everywhere in a spec.
    """
    result = dict(old)
    for key, change in changes.items():
        before = old.get(key)
        if isinstance(change, str) and isinstance(before, dict) and "name" in before:
            change = {"name": change}
        if change is None:
            result.pop(key, None)
        elif isinstance(before, dict) and isinstance(change, dict) and _has_same_name(before, change):
            result[key] = apply_merge_patch(before, change)
        else:
            result[key] = change
    return result


def _has_same_name(before: Mapping[str, Any], change: Mapping[str, Any]) -> bool:
    return bool(change.get("name", before.get("name")) == before.get("name"))
