"""Shows the report of a dataset import: its samples by split, and groups of equal and near-equal images."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

_MAX_GROUPS = 10
_MAX_IMAGES = 8  # of a group
_GROUPS = {
    "duplicates": "equal",
    "near_duplicates": "near-equal",
    "leaks": "equal, in several splits",
    "near_leaks": "near-equal, in several splits",
    "label_conflicts": "equal, with different labels",
}


def print_report(report: Mapping[str, Any], console: Console) -> None:
    """Print the main parts of an import report. Groups of images are shortened; `--json` prints all of them."""
    for split, counts in report["splits"].items():
        console.print(f"{split}: {counts['num_samples']} samples", highlight=False)
    for result in report.get("edits") or ():
        console.print(f"{result['kind']}: {result['num_samples']} samples", highlight=False)
    if groups := report.get("groups"):
        console.print(f"groups: {groups['num_groups']}, the largest has {groups['largest']} samples", highlight=False)
    for warning in report.get("warnings") or ():
        console.print(f"[yellow]{escape(warning)}[/yellow]")
    for entry in report["unreadable"][:_MAX_GROUPS]:
        console.print(f"unreadable: {escape(entry['name'])}: {escape(entry['reason'])}", highlight=False)
    for field, title in _GROUPS.items():
        if found := report.get(field):
            _print_groups(found, title, console)


def _print_groups(found: Mapping[str, Any], title: str, console: Console) -> None:
    if not found["num_groups"]:
        return
    noun = "group" if found["num_groups"] == 1 else "groups"
    console.print(f"{title}: {found['num_groups']} {noun}", highlight=False)
    for images in found["items"][:_MAX_GROUPS]:
        names = [f"{image['name']} ({image['split']})" for image in images[:_MAX_IMAGES]]
        more = ", …" * (len(images) > _MAX_IMAGES)
        console.print(f"  {escape(', '.join(names))}{more}", highlight=False, soft_wrap=True)
    if found["num_groups"] > _MAX_GROUPS:
        console.print(f"  and {found['num_groups'] - _MAX_GROUPS} more", highlight=False)
