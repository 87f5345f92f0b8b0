"""Formats numbers, times, metrics, bars and curves as short texts. It knows no console and no response."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rich.cells import cell_len
from rich.text import Text

from candela.types import Number, Progress

STATE_STYLE = {"succeeded": "green", "ready": "green", "failed": "red", "cancelled": "yellow", "running": "cyan"}
LEVELS = "▁▂▃▄▅▆▇█"
MINUTES = "%Y-%m-%d %H:%M %Z"  # a time without seconds
SHORT_ID = 8  # digits of an id
SPLITS = ("valid", "test", "train")  # the order of metrics, if not all of them fit


def format_state(name: str) -> Text:
    return Text(name, style=STATE_STYLE.get(name, ""))


def format_epochs(progress: Progress) -> str:
    return f"{progress.get('epoch', 0)}/{progress.get('epochs', '?')}" if progress else ""


def format_number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def format_metric(name: str, value: Number) -> str:
    return f"{name} {format_number(float(value))}"


def format_metrics(metrics: Mapping[str, Number]) -> str:
    """Format the names and values of metrics in one line."""
    return "  ".join(format_metric(name, value) for name, value in metrics.items())


def sort_metrics(names: Iterable[str]) -> list[str]:
    """Sort the names of metrics by importance: validation before training, and scores before losses."""

    def get_rank(name: str) -> tuple[int, bool, str]:
        split = next((place for place, split in enumerate(SPLITS) if name.startswith(f"{split}_")), len(SPLITS))
        return split, name.endswith("loss"), name

    return sorted(names, key=get_rank)


def format_time(text: str, pattern: str = "%Y-%m-%d %H:%M:%S %Z") -> str:
    """Format a time of a response in the local time zone, with the name of the zone."""
    return datetime.fromisoformat(text).astimezone().strftime(pattern)


def format_duration(seconds: float) -> str:
    """Format seconds as `0:07`, `12:40` or `3:05:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def format_eta(seconds: float | None) -> str:
    """Return the remaining time; nothing if it is unknown or over."""
    return "" if seconds is None or round(seconds) <= 0 else f"{format_duration(seconds)} left"


def format_bar(completed: float, total: float, width: int) -> Text:
    """Format a progress bar of `width` characters."""
    share = min(1.0, max(0.0, completed / total)) if total > 0 else 0.0
    filled = math.floor(share * width)
    return Text("━" * filled, style="green").append("─" * (width - filled), style="dim")


def format_sparkline(values: Sequence[float], width: int = 24) -> str:
    """Format a curve in at most `width` characters. Non-finite values are shown as `!`."""
    step = max(1, math.ceil(len(values) / width))
    thinned = values[::step]
    finite = [value for value in thinned if math.isfinite(value)]
    if not finite:
        return "!" * len(thinned)
    low, span = min(finite), (max(finite) - min(finite)) or 1.0
    top = len(LEVELS) - 1
    return "".join(LEVELS[round((v - low) / span * top)] if math.isfinite(v) else "!" for v in thinned)


def shorten_middle(name: str, width: int) -> str:
    """Shorten a name to `width` columns of the terminal. The middle is replaced with an ellipsis."""
    if cell_len(name) <= width:
        return name
    if width < 3:
        return "…"[:width]
    end = (width - 1) // 2
    start = width - 1 - end
    while cell_len(short := f"{name[:start]}…{name[len(name) - end :]}") > width:  # wide characters
        start, end = max(0, start - 1), end - (start == 0)
    return short


def fit_parts(parts: Iterable[str], width: int, separator: str = "  ") -> str:
    """Join the parts that fit into the width, in their order. Parts that do not fit are left out."""
    line = ""
    for part in parts:
        longer = f"{line}{separator}{part}" if line else part
        if cell_len(longer) <= width:
            line = longer
    return line


def wrap_parts(parts: Iterable[str], width: int, separator: str = "  ") -> list[str]:
    """Join the parts to lines of at most the width. A part is never divided."""
    lines: list[str] = []
    for part in parts:
        if lines and cell_len(lines[-1]) + len(separator) + cell_len(part) <= width:
            lines[-1] += f"{separator}{part}"
        else:
            lines.append(part)
    return lines
