"""Computes spreads, ratios and tables from the measurements of the benchmark."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Spread:
    """One value per round."""

    values: tuple[float, ...]

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def middle(self) -> float:
        return median(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def __str__(self) -> str:
        return f"{_format_number(self.low)} **{_format_number(self.middle)}** {_format_number(self.high)}"


@dataclass(frozen=True)
class Row:
    """A row of the table: a measurement and its targets. A row without targets is for comparison only."""

    name: str
    spread: Spread
    must: float | None = None
    moonshot: float | None = None
    better: Better = "higher"

    @property
    def verdict(self) -> str:
        """The target that the median reaches."""
        if self.must is None or self.moonshot is None:
            return ""
        if self._reaches_target(self.moonshot):
            return "moonshot"
        return "must" if self._reaches_target(self.must) else "missed"

    def _reaches_target(self, target: float) -> bool:
        middle = self.spread.middle
        return middle >= target if self.better == "higher" else middle <= target


def compute_ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return one ratio per round, because the speed of the machine drifts between rounds.

    Raises:
        ValueError: the sides have different numbers of rounds, or a divisor is 0.
    """
    if not all(theirs):
        raise ValueError("a side that was measured as 0 cannot be a divisor")
    return Spread(tuple(one / other for one, other in zip(ours, theirs, strict=True)))


def compute_fair_share(together: Sequence[float], alone: Sequence[float], sharers: int) -> Spread:
    """Return rates relative to the fair share, which is the rate alone divided by the number of sharers."""
    return compute_ratios([rate * sharers for rate in together], alone)


def compute_percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that a `share` (0..1) of all values does not exceed (nearest rank).

    Raises:
        ValueError: `values` is empty.
    """
    if not values:
        raise ValueError("a percentile requires at least one value")
    ordered = sorted(values)
    rank = -(
        -round(share * len(ordered) * 1e9) // 10**9
    )  # ceiling; rounded first, because 0.99 * 100 is 99.00000000000001
    return ordered[max(rank, 1) - 1]


def format_table(rows: Sequence[Row]) -> str:
    """Return a Markdown table with minimum, median and maximum."""
    lines = ["| | min **median** max | must | moonshot | |", "|---|---|--:|--:|---|"]
    for row in rows:
        targets = " | ".join(
            "" if target is None else _format_target(row, target) for target in (row.must, row.moonshot)
        )
        lines.append(f"| {row.name} | {row.spread} | {targets} | {row.verdict} |")
    return "\n".join(lines)


def replace_section(text: str, heading: str, section: str) -> str:
    """Return the document with the section replaced, or appended if its heading is missing.

    Args:
        text: a Markdown document whose sections start with `## `.
        heading: the complete line, `## …`.
        section: the text below the heading.
    """
    whole = f"{heading}\n\n{section.strip()}\n"
    pattern = re.compile(rf"^{re.escape(heading)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if pattern.search(text) is None:
        return f"{text.rstrip()}\n\n{whole}"
    return pattern.sub(lambda _: f"{whole}\n", text).rstrip() + "\n"


def _format_target(row: Row, target: float) -> str:
    return f"{'≤ ' if row.better == 'lower' else ''}{target:g}"


def _format_number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
