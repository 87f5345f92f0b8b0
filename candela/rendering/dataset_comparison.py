"""Renders comparisons of dataset versions in the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.markup import escape

from candela.rendering import terminal
from candela.types import DatasetComparison

MAX_LISTED = 10
CHANGES = ("added", "removed", "relabelled", "moved", "changed")


def print_comparison(comparison: DatasetComparison) -> None:
    """Print the number of differences per split and class, and the first samples of each kind."""
    name = f"{comparison['name']} version {comparison['version']}"
    base = f"{comparison['base_name']} version {comparison['base_version']}"
    if comparison["is_identical"]:
        _print_line(f"{name} and {base} are identical: {comparison['num_unchanged']} samples")
        return
    _print_line(f"{base} -> {name}: {comparison['num_unchanged']} samples are unchanged")
    for title, classes in (("new", comparison["classes_added"]), ("removed", comparison["classes_removed"])):
        if classes:
            _print_line(f"{title} classes: {', '.join(classes)}")
    table = terminal.create_table("SPLIT", "CLASS", *(change.upper() for change in CHANGES))
    for split, counts in comparison["splits"].items():
        table.add_row(split, "", *_format_counts(counts))
        for label, by_class in counts["classes"].items():
            table.add_row("", escape(label), *_format_counts(by_class))
    terminal.print_renderable(table)
    for change in CHANGES:
        samples = comparison["samples"][change]
        if samples:
            _print_line(f"{change}:")
            _print_lines([_format_sample(sample) for sample in samples])


def _format_counts(counts: Mapping[str, Any]) -> Iterator[str]:
    yield from (str(counts[change]) if counts[change] else "" for change in CHANGES)


def _format_sample(sample: Mapping[str, Any]) -> str:
    """Format a sample: its place in the base version, and its place in the version if that is different."""
    places = [
        f"{sample[f'{prefix}split']} {sample[f'{prefix}name']} ({sample[f'{prefix}label']})"
        for prefix in ("base_", "")
        if sample[f"{prefix}name"] is not None
    ]
    return " -> ".join(dict.fromkeys(places))


def _print_line(text: str) -> None:
    terminal.console.print(text, markup=False)


def _print_lines(lines: Sequence[str]) -> None:
    for line in lines[:MAX_LISTED]:
        terminal.console.print(f"  {line}", markup=False, soft_wrap=True)
    if len(lines) > MAX_LISTED:
        terminal.console.print(f"  … (--json prints all of {len(lines)})", markup=False)
