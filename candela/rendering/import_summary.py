"""Prints the report of an import in a few lines of the terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from candela.rendering import terminal

Report = Mapping[str, Any]


def print_import_report(report: Report) -> None:
    """Print the size, the samples of each split, the files that were left out, and the problems that were found.

    Servers of earlier versions omit some fields. Lines without a value are left out.
    """
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in list_lines(report):
        table.add_row(name, Text(value))
    terminal.print_renderable(table)


def list_lines(report: Report) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of each line."""
    if report.get("sizes") is not None and report.get("image_shape"):
        yield "images", format_resizing(report)
    if report["splits"]:
        yield "samples", ", ".join(f"{split} {part['num_samples']}" for split, part in report["splits"].items())
    if report.get("num_dropped"):
        yield "dropped rows", str(report["num_dropped"])
    if report.get("num_ignored"):
        yield "left out", format_suffixes(report)
    yield "duplicates", _format_groups(report["duplicates"])
    yield "leaks", _format_groups(report["leaks"], "between splits")
    if report["label_conflicts"]["num_groups"]:
        yield "conflicts", _format_groups(report["label_conflicts"], "with several labels")
    num_too_large = report.get("num_too_large") or 0
    if report.get("sizes") is not None:
        yield "unreadable", str(report["num_unreadable"] - num_too_large)
        yield "too large", str(num_too_large)


def format_resizing(report: Report) -> str:
    """Return the size of the images and how they were resized, for example `3 x 64 x 64, resize=crop`."""
    parts = [" x ".join(map(str, report["image_shape"])), f"resize={report['resize']}"]
    if report.get("resize_shorter_side"):
        parts.append(f"resize_shorter_side={report['resize_shorter_side']}")
    if report["resize"] == "pad" and report.get("pad_color"):
        parts.append("pad_color=#{:02x}{:02x}{:02x}".format(*report["pad_color"]))
    if report.get("interpolation"):
        parts.append(f"interpolation={report['interpolation']}")
    return ", ".join(parts)


def format_suffixes(report: Report) -> str:
    """Return the number of ignored files by suffix, for example `.txt 3, .gif 2`."""
    suffixes: Mapping[str, int] = report.get("ignored_by_suffix") or {}
    listed = ", ".join(f"{suffix or 'no suffix'} {count}" for suffix, count in suffixes.items())
    return listed or f"{report['num_ignored']} files"


def _format_groups(groups: Mapping[str, Any], kind: str = "") -> str:
    """Return the number of groups of equal samples and, if there are any, the first group."""
    count = groups["num_groups"]
    if not count:
        return "0"
    names = [f"{item['split']}/{item['name']}" for item in groups["items"][0][:2]]
    text = f"{count} group{'s' * (count > 1)} of equal samples{' ' * bool(kind)}{kind}"
    return f"{text}, such as {' = '.join(names)}"
