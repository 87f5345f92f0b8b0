"""Reads the header Accept: which media type a problem may have."""

from collections.abc import Sequence

JSON, PROBLEM_JSON = "application/json", "application/problem+json"


def accepts_problem_json(accept: Sequence[str]) -> bool:
    """Return False if the values of the header Accept allow `application/json` but not `application/problem+json`.

    The most specific entry decides about a media type. Source: RFC 9110, section 12.5.1.
    """
    weights: dict[str, float] = {}
    for entry in ",".join(accept).lower().split(","):
        media_range, *parameters = (part.strip() for part in entry.split(";"))
        weights[media_range] = parse_weight(parameters)
    default = weights.get("application/*", weights.get("*/*", 0.0))
    return weights.get(PROBLEM_JSON, default) > 0 or weights.get(JSON, default) == 0


def parse_weight(parameters: Sequence[str]) -> float:
    """Return the weight `q` of an entry of a header such as Accept. An invalid weight counts as 0."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0 <= weight <= 1 else 0.0
    return 1.0
