"""Renders the result of a job that repeats a training."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

STYLES = {"identical": "green", "equal_metrics": "yellow", "different": "red"}
EXPLANATIONS = {
    "identical": "the weights are equal",
    "equal_metrics": "the weights differ, all metrics are equal within the tolerance",
    "different": "the weights and metrics differ",
}


def list_verdict_lines(result: Mapping[str, Any]) -> Iterator[tuple[str, Text]]:
    """Yield the lines of the verdict: a label and a text."""
    verdict, original = result["verdict"], result["original"]
    yield "verdict", Text.assemble((verdict, STYLES.get(verdict, "")), f"  {EXPLANATIONS.get(verdict, '')}")
    yield "original", Text(f"{original['sha256']}  {original['model'] or original['job']}")
    yield "this job", Text(result["sha256"])
    for change in result["changes"]:
        yield "changed", Text(_format_difference(change["pointer"], change))
    first = result["first_difference"]
    if first is not None:
        yield "step", Text(_format_difference(f"{first['step']}, the first recorded one with another loss", first))
    if result["environment"] is None:
        yield "differs", Text("the environment of the original is not known, because its job was deleted")
    for difference in result["environment"] or ():
        yield "differs", Text(_format_difference(difference["field"], difference))
    compared = result["compared"]
    yield (
        "compared",
        Text(f"weights, {compared['num_losses']} losses and {compared['num_epoch_metrics']} metrics of epochs"),
    )


def _format_difference(name: str, values: Mapping[str, Any]) -> str:
    return f"{name}: {values['reproduced']} instead of {values['original']}"
