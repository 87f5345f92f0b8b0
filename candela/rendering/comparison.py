"""Renders comparisons of jobs and their resource usage in the terminal."""

import json
import math
from collections.abc import Sequence

from rich.markup import escape

from candela.rendering import terminal
from candela.rendering.formats import SHORT_ID, format_number, format_sparkline, format_state
from candela.rendering.terminal import create_table, print_table
from candela.types import CurveGrid, JobDifferences, UsageSeries


def print_comparison(comparison: JobDifferences) -> None:
    """Print a column per job: differing fields, last and best metrics, and environments."""
    ids = [job["id"] for job in comparison["jobs"]]
    table = create_table("FIELD", *(job_id[:SHORT_ID] for job_id in ids))
    table.add_row("name", *(escape(job["name"]) for job in comparison["jobs"]))
    table.add_row("state", *(format_state(job["state"]) for job in comparison["jobs"]))
    for difference in comparison["differences"]:
        if difference["pointer"] != "/name":
            values = difference["values"]
            cells = (escape(json.dumps(values[job_id])) if job_id in values else "" for job_id in ids)
            table.add_row(escape(difference["pointer"]), *cells)
    for name, by_job in comparison["metrics"].items():
        for kind in ("last", "best"):
            numbers = [by_job[job_id][kind] if job_id in by_job else None for job_id in ids]
            table.add_row(f"{name} {kind}", *("" if number is None else format_number(number) for number in numbers))
    names = sorted({name for environment in comparison["environments"].values() for name in environment})
    for name in names:
        environments = (comparison["environments"][job_id] for job_id in ids)
        table.add_row(name, *(escape(str(environment.get(name, ""))) for environment in environments))
    print_table(table, "no jobs")
    rest = comparison["num_differences"] - len(comparison["differences"])
    if rest > 0:
        terminal.console.print(f"and {rest} more fields", style="dim")


def print_grid(grid: CurveGrid) -> None:
    """Print the last, lowest and highest value of each job, and its curve on the common axis."""
    curves = [f"{series.get('split')}_{series.get('name')}" for series in grid["series"]]
    has_several = len(set(curves)) > 1
    table = create_table("ID", *(["CURVE"] if has_several else []), "POINTS", "LAST", "LOWEST", "HIGHEST", "TREND")
    for series, curve in zip(grid["series"], curves, strict=True):
        last = [math.nan if value is None else value for value in series["last"]]
        present = [value for value in last if not math.isnan(value)]
        lows, highs = ([value for value in series[key] if value is not None] for key in ("min", "max"))
        numbers = (present[-1:] or [math.nan], lows and [min(lows)], highs and [max(highs)])
        cells = (format_number(values[0]) if values else "" for values in numbers)
        job_id = series["job"][:SHORT_ID] if terminal.is_limited(terminal.console) else series["job"]
        start = (job_id, *([curve] if has_several else []), str(sum(series["count"])))
        table.add_row(*start, *cells, format_sparkline(last, terminal.get_trend_width()))
    print_table(table, "no jobs")
    if grid["x"]:
        terminal.console.print(f"{grid['axis']} {grid['x'][0]:g} to {grid['x'][-1] + grid['width']:g}", style="dim")


def print_usage(series: Sequence[UsageSeries]) -> None:
    """Print the last, mean and highest value of each quantity."""
    table = create_table("QUANTITY", "UNIT", "LAST", "MEAN", "HIGHEST", "TREND")
    for curve in series:
        values = [float(point["value"]) for point in curve["points"]]
        numbers = (values[-1], sum(values) / len(values), max(values))
        table.add_row(
            curve["name"],
            curve["unit"],
            *map(format_number, numbers),
            format_sparkline(values, terminal.get_trend_width()),
        )
    print_table(table, "no samples yet")
