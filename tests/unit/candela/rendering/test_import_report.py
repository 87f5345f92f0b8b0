"""The report of an import as text."""

import io
from typing import Any

from rich.console import Console

from candela.rendering.import_report import print_report


def build_groups(*sizes: int, split: str = "train") -> dict[str, Any]:
    items = [[{"split": split, "name": f"{place}.png"} for place in range(size)] for size in sizes]
    return {"num_groups": len(sizes), "items": items}


def build_report(**changes: Any) -> dict[str, Any]:
    empty = build_groups()
    fields: dict[str, Any] = {
        "duplicates": empty,
        "leaks": empty,
        "label_conflicts": empty,
        "unreadable": [],
        "warnings": None,
    }
    return {"splits": {"train": {"num_samples": 9}, "test": {"num_samples": 2}}, **fields} | changes


def print_text(report: dict[str, Any]) -> list[str]:
    text = io.StringIO()
    print_report(report, Console(file=text, width=60))
    return text.getvalue().splitlines()


def test_a_report_shows_samples_groups_and_warnings() -> None:
    report = build_report(
        groups={"num_groups": 4, "largest": 3},
        warnings=["Look [here]."],
        unreadable=[{"name": "x.png", "reason": "is damaged"}],
        near_duplicates=build_groups(2),
        near_leaks=None,
    )
    assert print_text(report) == [
        "train: 9 samples",
        "test: 2 samples",
        "groups: 4, the largest has 3 samples",
        "Look [here].",
        "unreadable: x.png: is damaged",
        "near-equal: 1 group",
        "  0.png (train), 1.png (train)",
    ]


def test_long_groups_are_shortened() -> None:
    lines = print_text(build_report(duplicates=build_groups(*[9] * 12)))
    assert lines[2] == "equal: 12 groups"
    assert lines[3].endswith("7.png (train), …")
    assert lines[-1] == "  and 2 more"
