"""From pydantic's errors to JSON pointers and reasons that name the nearest valid word."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rapidfuzz import process
from rapidfuzz.distance import JaroWinkler

MAX_NAMES = 30
MAX_SHOWN = 40
Schema = Mapping[str, Any]


def to_pointers(errors: Sequence[Mapping[str, Any]], schema: Schema, prefix: str = "") -> list[tuple[str, str]]:
    """(JSON pointer, reason) of every error, by the JSON Schema of what was validated."""
    found = dict.fromkeys(
        (prefix + pointer_of([*at, "kind"] if error.get("ctx", {}).get("discriminator") == "'kind'" else at), reason)
        for error in errors
        for at, node in [_locate(error["loc"], schema, is_unknown=error["type"] == "extra_forbidden")]
        for reason in [_reason(error, node, schema)]
    )
    return list(found)


def pointer_of(path: Iterable[Any]) -> str:
    """An RFC 6901 pointer: `/callbacks/0/patience`."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def nearest(word: str, known: Sequence[str]) -> list[str]:
    """At most three of `known`, the most alike first."""
    alike = JaroWinkler.normalized_similarity
    found = process.extract(word[:64].lower(), known, scorer=alike, limit=3, score_cutoff=0.7)
    return [match for match, score, _ in found if score > found[0][1] - 0.15]


def unknown(what: str, word: str, known: Sequence[str]) -> str:
    """`unknown optimizer 'adma'; did you mean 'adam'?`"""
    near = nearest(word, known)
    if near:
        return f"unknown {what} {_quote(word)}; did you mean {' or '.join(map(repr, near))}?"
    names = ", ".join(map(repr, known[:MAX_NAMES]))
    return f"unknown {what} {_quote(word)}; known: {names or 'none'}"


def _quote(word: str) -> str:
    return repr(word if len(word) <= 64 else f"{word[:63]}…")


def _reason(error: Mapping[str, Any], node: Schema, root: Schema) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return unknown("field", str(error["loc"][-1]), sorted(_properties(node, root)))
        case "union_tag_invalid":
            expected = [tag.strip().strip("'") for tag in context["expected_tags"].split(",")]
            return unknown(context["discriminator"].strip("'"), str(context["tag"]), expected)
        case "union_tag_not_found":
            return "needs a field 'name' that says which kind it is"
        case "missing":
            return "is missing"
        case "value_error":
            return str(context.get("error", error["msg"]))
        case _:
            return format_reason(error)


def format_reason(error: Mapping[str, Any]) -> str:
    """What would be accepted, and what came instead: `should be greater than 0, not -1`."""
    reason = str(error["msg"]).removeprefix("Input ")
    return f"{reason}, not {shorten(error['input'])}" if "input" in error else reason


def shorten(value: Any) -> str:  # noqa: ANN401 - whatever the client sent
    """A value as a client may read it back: JSON, ASCII, short; of arrays and objects only that they are such."""
    match value:
        case Mapping():
            return "an object"
        case str() if len(value) > MAX_SHOWN:
            return f"{json.dumps(value[:MAX_SHOWN])}…"
        case int() if abs(value) >= 10**MAX_SHOWN:
            return f"a number of more than {MAX_SHOWN} digits"
        case str() | int() | float() | None:
            return json.dumps(value)
        case Sequence():
            return "an array"
        case _:
            return f"a {type(value).__name__}"


def _locate(loc: Sequence[Any], schema: Schema, *, is_unknown: bool) -> tuple[list[Any], Schema]:
    """The path of `loc` in the document, without the tags that pydantic adds, and the schema of its end.

    Of a field that `is_unknown` it is the parent's schema.
    """
    path: list[Any] = []
    node: Schema = schema
    for index, part in enumerate(loc):
        tagged, child = _tag(part, node, schema), _child(part, node, schema)
        if child is not None:
            path.append(part)
            node = child
        elif tagged is not None:
            node = tagged
        elif index == len(loc) - 1 and (is_unknown or isinstance(part, int)):
            path.append(part)  # else it names a member of a union, as in `('version', 'constrained-int')`
    return path, node


def _tag(part: Any, node: Schema, root: Schema) -> Schema | None:  # noqa: ANN401 - str or int
    for one in _alternatives(node, root):
        target = one.get("discriminator", {}).get("mapping", {}).get(part)
        if target is not None:
            return _deref({"$ref": target}, root)
    return None


def _child(part: Any, node: Schema, root: Schema) -> Schema | None:  # noqa: ANN401 - str or int
    for one in _alternatives(node, root):
        if isinstance(part, int) and ("items" in one or "prefixItems" in one):
            members = one.get("prefixItems", [])
            return _deref(members[part] if part < len(members) else one.get("items", {}), root)
        if part in one.get("properties", {}):
            return _deref(one["properties"][part], root)
    return None


def _properties(node: Schema, root: Schema) -> set[str]:
    return {name for one in _alternatives(node, root) for name in one.get("properties", {})}


def _alternatives(node: Schema, root: Schema) -> Iterator[Schema]:
    """`node` and what its `anyOf` and `allOf` lead to, but not the kinds of a discriminated union."""
    node = _deref(node, root)
    yield node
    for key in ("anyOf", "allOf"):
        for one in node.get(key, ()):
            yield from _alternatives(one, root)


def _deref(node: Schema, root: Schema) -> Schema:
    while "$ref" in node:
        node = root["$defs"][str(node["$ref"]).rsplit("/", 1)[-1]]
    return node
