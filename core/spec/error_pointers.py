"""Converts pydantic errors to JSON pointers and error messages. Suggests similar names for unknown names."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from rapidfuzz import process
from rapidfuzz.distance import JaroWinkler

from core.spec.error_reasons import format_reason
from core.spec.name_search import find_aliased_names, find_other_component, is_loss_curve

MAX_ERRORS = 100
"""Maximum number of errors that are explained. A body of 1 MB can have 100,000 errors."""
UNEXPLAINED = "has more errors"
MAX_NAMES = 30
MAX_SUMMARIZED = 5
MAX_CANDIDATES = 1000
MAX_NAME_LENGTH = 64
_SHOULD_BE, _NOT = "should be ", ", not "
Schema = Mapping[str, Any]


def to_pointers(errors: Sequence[Mapping[str, Any]], schema: Schema, prefix: str = "") -> list[tuple[str, str]]:
    """Convert pydantic errors to (JSON pointer, message) pairs. `schema` is the JSON Schema of the validated model.

    Only the first `MAX_ERRORS` errors are located and explained. The pairs of the others only count them.
    """
    pointers = dict.fromkeys(
        (prefix + build_pointer([*at, "kind"] if error.get("ctx", {}).get("discriminator") == "'kind'" else at), reason)
        for error in errors[:MAX_ERRORS]
        for at, node in [_locate(error["loc"], schema, is_unknown=error["type"] == "extra_forbidden")]
        for reason in [_build_reason(error, node, schema)]
    )
    return [*_merge_alternatives(pointers), *[(prefix, UNEXPLAINED)] * len(errors[MAX_ERRORS:])]


def _merge_alternatives(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Merge the errors of a union, which has one error per member: `should be an integer or 'auto', not "many"`.

    If a member has errors inside of the value, the errors of members of another type are left out.
    """
    accepted: dict[str, dict[str, None]] = {}  # by pointer; the reasons in the order of the members
    for pointer, reason in pairs:
        accepted.setdefault(pointer, {})[reason] = None
    parents = {pointer[:end] for pointer in accepted for end, character in enumerate(pointer) if character == "/"}
    merged = []
    for pointer, reasons in accepted.items():
        alternatives = [reason.removeprefix(_SHOULD_BE) for reason in reasons if reason.startswith(_SHOULD_BE)]
        others = [reason for reason in reasons if not reason.startswith(_SHOULD_BE)]
        if alternatives and pointer not in parents:
            accepts, values = zip(*(each.partition(_NOT)[::2] for each in alternatives), strict=True)
            merged.append((pointer, f"{_SHOULD_BE}{_join_alternatives(accepts)}{values[0] and _NOT}{values[0]}"))
        merged += [(pointer, reason) for reason in others]
    return merged


def _join_alternatives(accepts: Sequence[str]) -> str:
    return " or ".join(dict.fromkeys(accepts)) if len(accepts) < 3 else ", ".join(accepts[:-1]) + f" or {accepts[-1]}"


def build_pointer(path: Iterable[Any]) -> str:
    """Build an RFC 6901 pointer such as `/callbacks/0/patience`."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def find_nearest(name: str, valid_names: Sequence[str]) -> list[str]:
    """Return the valid names that other tools call `name`, or up to three similar ones, most similar first.

    Searches the first `MAX_CANDIDATES` names, and compares the first `MAX_NAME_LENGTH` characters of `name`.
    """
    alike = JaroWinkler.normalized_similarity
    candidates = valid_names[:MAX_CANDIDATES]
    if aliased := find_aliased_names(name, candidates):
        return aliased
    matches = process.extract(name[:MAX_NAME_LENGTH].lower(), candidates, scorer=alike, limit=3, score_cutoff=0.7)
    return [match for match, score, _ in matches if score > matches[0][1] - 0.15]


def summarize_error(error: BaseException) -> str:
    """Return an error as one line. Of a pydantic error, name each invalid field by its JSON pointer."""
    if isinstance(error, ValidationError):
        items = error.errors(include_url=False)
        reasons = [f"{build_pointer(item['loc']) or '/'} {format_reason(item)}" for item in items[:MAX_SUMMARIZED]]
        more = len(items) - len(reasons)
        return "; ".join([*reasons, *([f"{more} more errors"] if more else [])])
    return " ".join(str(error).split())


def format_unknown_name(kind: str, name: str, valid_names: Sequence[str]) -> str:
    """Format an error message such as `unknown optimizer 'adma'; did you mean 'adam'?`."""
    similar = find_nearest(name, valid_names)
    if similar:
        return f"unknown {kind} {quote_name(name)}; did you mean {' or '.join(map(quote_name, similar))}?"
    names = ", ".join(map(quote_name, valid_names[:MAX_NAMES]))
    return f"unknown {kind} {quote_name(name)}; known: {names or 'none'}"


def _format_unknown_tag(kind: str, tag: str, expected: Sequence[str]) -> str:
    """Format the error of an unknown component. It may be a component of another kind, as in other tools."""
    if "accuracy" in expected and is_loss_curve(tag):
        return f"unknown {kind} {quote_name(tag)}; the loss is recorded without an entry in metrics"
    other = "" if find_aliased_names(tag, expected) else find_other_component(tag)
    reason = format_unknown_name(kind, tag, expected)
    return f"unknown {kind} {quote_name(tag)}; did you mean {other}?" if other else reason


def format_names(names: Sequence[str]) -> str:
    """Format names for an error message: at most `MAX_NAMES` of them, each shortened."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(map(shorten_name, names[:MAX_NAMES])) + more


def quote_name(name: str) -> str:
    """Quote a name for an error message. A client may send a name of many megabytes."""
    return repr(shorten_name(name))


def shorten_name(name: str) -> str:
    """Shorten a name to `MAX_NAME_LENGTH` characters."""
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 1]}…"


def _build_reason(error: Mapping[str, Any], node: Schema, root: Schema) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return format_unknown_name("field", str(error["loc"][-1]), sorted(_list_properties(node, root)))
        case "union_tag_invalid":
            expected = [tag.strip().strip("'") for tag in context["expected_tags"].split(",")]
            return _format_unknown_tag(context["discriminator"].strip("'"), str(context["tag"]), expected)
        case "union_tag_not_found":
            return f"must have a field {context['discriminator']}"
        case _:
            return format_reason(error)


def _locate(loc: Sequence[Any], schema: Schema, *, is_unknown: bool) -> tuple[list[Any], Schema]:
    """Convert the location of a pydantic error to a path in the JSON document and the schema at that path.

    The path omits the union tags that pydantic adds to locations. For an unknown field, the schema is that of the
    object that contains the field.
    """
    path: list[Any] = []
    node: Schema = schema
    for index, part in enumerate(loc):
        tagged, child = _find_tagged_schema(part, node, schema), _find_child(part, node, schema)
        if child is not None:
            path.append(part)
            node = child
        elif tagged is not None:
            node = tagged
        elif index == len(loc) - 1 and (is_unknown or isinstance(part, int)):
            path.append(part)  # omit other parts: names of union members such as 'constrained-int'
    return path, node


def _find_tagged_schema(part: Any, node: Schema, root: Schema) -> Schema | None:  # noqa: ANN401 - str or int
    for one in _iterate_alternatives(node, root):
        target = one.get("discriminator", {}).get("mapping", {}).get(part)
        if target is not None:
            return _resolve_reference({"$ref": target}, root)
    return None


def _find_child(part: Any, node: Schema, root: Schema) -> Schema | None:  # noqa: ANN401 - str or int
    for one in _iterate_alternatives(node, root):
        if isinstance(part, int) and ("items" in one or "prefixItems" in one):
            members = one.get("prefixItems", [])
            return _resolve_reference(members[part] if part < len(members) else one.get("items", {}), root)
        if part in one.get("properties", {}):
            return _resolve_reference(one["properties"][part], root)
        values = next(iter(one.get("patternProperties", {}).values()), one.get("additionalProperties"))
        if isinstance(part, str) and isinstance(values, dict):  # an object that maps any keys to values
            return _resolve_reference(values, root)
    return None


def _list_properties(node: Schema, root: Schema) -> set[str]:
    return {name for one in _iterate_alternatives(node, root) for name in one.get("properties", {})}


def _iterate_alternatives(node: Schema, root: Schema) -> Iterator[Schema]:
    """Iterate over a schema and its `anyOf` and `allOf` members, but not the `oneOf` members of tagged unions."""
    node = _resolve_reference(node, root)
    yield node
    for key in ("anyOf", "allOf"):
        for one in node.get(key, ()):
            yield from _iterate_alternatives(one, root)


def _resolve_reference(node: Schema, root: Schema) -> Schema:
    while "$ref" in node:
        node = root["$defs"][str(node["$ref"]).rsplit("/", 1)[-1]]
    return node
