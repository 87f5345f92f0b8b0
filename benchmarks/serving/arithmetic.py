"""What the benchmark computes from its measurements: spreads, ratios, tables. It measures nothing itself."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Spread:
    """One number a round."""

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
        return f"{_short(self.low)} **{_short(self.middle)}** {_short(self.high)}"


@dataclass(frozen=True)
class Row:
    """A line of the table: what was measured, and what was hoped for; without a target it is told for comparison."""

    name: str
    spread: Spread
    must: float | None = None
    moonshot: float | None = None
    better: Better = "higher"

    @property
    def verdict(self) -> str:
        """By the median: how far it came."""
        if self.must is None or self.moonshot is None:
            return ""
        if self._reaches(self.moonshot):
            return "moonshot"
        return "must" if self._reaches(self.must) else "missed"

    def _reaches(self, target: float) -> bool:
        middle = self.spread.middle
        return middle >= target if self.better == "higher" else middle <= target


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Round by round, since the machine drifts between rounds.

    Raises:
        ValueError: the sides have another number of rounds, or a divisor is 0.
    """
    if not all(theirs):
        raise ValueError("a side that was measured as 0 cannot be compared with")
    return Spread(tuple(one / other for one, other in zip(ours, theirs, strict=True)))


def keeps(together: Sequence[float], alone: Sequence[float], sharers: int) -> Spread:
    """What one of `sharers` keeps of its fair share: 1 is its solo rate divided among them."""
    return ratios([rate * sharers for rate in together], alone)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0..1) of all do not exceed (nearest rank).

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values, no percentile")
    ordered = sorted(values)
    rank = -(-round(share * len(ordered) * 1e9) // 10**9)  # the ceiling, but of 0.99 * 100, which is 99.00000000000001
    return ordered[max(rank, 1) - 1]


def table(rows: Sequence[Row]) -> str:
    """Markdown; min, median, max; 1 in a target column of a share is the whole."""
    lines = ["| | min **median** max | must | moonshot | |", "|---|---|--:|--:|---|"]
    for row in rows:
        targets = " | ".join("" if target is None else _target(row, target) for target in (row.must, row.moonshot))
        lines.append(f"| {row.name} | {row.spread} | {targets} | {row.verdict} |")
    return "\n".join(lines)


def with_section(text: str, heading: str, section: str) -> str:
    """The document with the section of that heading replaced, or added at its end.

    Args:
        text: a Markdown document whose sections open with `## `.
        heading: the whole line, `## …`.
        section: what stands under it, without the heading.
    """
    whole = f"{heading}\n\n{section.strip()}\n"
    pattern = re.compile(rf"^{re.escape(heading)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if pattern.search(text) is None:
        return f"{text.rstrip()}\n\n{whole}"
    return pattern.sub(lambda _: f"{whole}\n", text).rstrip() + "\n"


def _target(row: Row, target: float) -> str:
    return f"{'≤ ' if row.better == 'lower' else ''}{target:g}"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
