"""Renders sweeps, their trials and the importance of their parameters."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from candela.rendering import terminal
from candela.rendering.formats import (
    SHORT_ID,
    STATE_STYLE,
    fit_parts,
    format_bar,
    format_duration,
    format_number,
    format_state,
    shorten_middle,
)
from candela.sweep_types import (
    SweepDryRunResponse,
    SweepImportanceResponse,
    SweepResponse,
    SweepRung,
    SweepTrialResponse,
)

BAR_WIDTH = 20
ABSENT = "-"
NAME_WIDTH = 20  # of the names in a narrow terminal
WIDE = 140
TRIAL_STATES = ("running", "paused", "interrupted", "succeeded", "stopped", "failed", "refused")


def print_sweeps(sweeps: Sequence[SweepResponse]) -> None:
    """Print a table of sweeps. A narrow terminal has short ids and names, and no metrics."""
    is_wide = terminal.console.width >= WIDE
    table = _create_table("ID", "NAME", "STATE", "TRIALS", "EPOCHS", "BEST", "TIME", *(["METRIC"] if is_wide else []))
    for sweep in sweeps:
        best = sweep["best"]
        table.add_row(
            sweep["id"] if not terminal.is_limited(terminal.console) else sweep["id"][:SHORT_ID],
            sweep["name"] if is_wide else shorten_middle(sweep["name"], NAME_WIDTH),
            format_state(sweep["state"]),
            format_spent(sweep, "trials"),
            format_spent(sweep, "epochs"),
            ABSENT if best is None else format_number(best["score"]),
            format_duration(sweep["elapsed_s"]),
            *([sweep["objective"]["metric"]] if is_wide else []),
        )
    terminal.print_table(table, "no sweeps")


def print_sweep(sweep: SweepResponse) -> None:
    """Print a sweep with its budget, its best trial and its milestones."""
    terminal.print_renderable(build_sweep_view(sweep, (), terminal.console.width))


def print_trials(trials: Sequence[SweepTrialResponse]) -> None:
    """Print a table of trials."""
    width = terminal.console.width
    terminal.print_renderable(build_trial_table(trials, width) if trials else Text("no trials", style="dim"))


def print_importance(report: SweepImportanceResponse) -> None:
    """Print the importance of each parameter with its deviation."""
    if not report["parameters"]:
        terminal.print_renderable(Text("fewer than 10 trials have a score", style="dim"))
        return
    table = _create_table("PARAMETER", "IMPORTANCE", "", "")
    for each in report["parameters"]:
        bar = format_bar(each["importance"], 1.0, BAR_WIDTH)
        table.add_row(each["pointer"], f"{each['importance']:.2f}", f"± {each['deviation']:.2f}", bar)
    terminal.print_renderable(table)
    explained = report["explained"] or 0.0
    line = f"{report['num_trials']} trials after {report['epochs']} epochs; explained variance {explained:.2f}"
    terminal.print_renderable(Text(line, style="dim" if explained > 0 else "yellow"))


def print_plan(plan: SweepDryRunResponse) -> None:
    """Print the first trials of a dry run and the estimates."""
    estimate = plan["estimate"]
    for trial in plan["trials"]:
        line = f"trial {trial['number']}: {format_parameters(trial['parameters'])}"
        terminal.print_renderable(Text(line))
        for error in trial["errors"]:
            terminal.print_renderable(Text(f"  {error['pointer']}: {error['detail']}", style="yellow"))
    parts = [f"{int(value)} {name}" for name in ("trials", "epochs") if (value := estimate[name]) is not None]
    if (hours := estimate["hours"]) is not None:
        parts.append(f"about {format_duration(hours * 3600)}")
    if (size := estimate["disk_bytes"]) is not None:
        parts.append(f"{size / 1e6:.1f} MB")
    terminal.print_renderable(Text(f"valid: {', '.join(parts) or 'no limit'}", style="green"))


def build_sweep_view(sweep: SweepResponse, trials: Sequence[SweepTrialResponse], width: int) -> Group:
    """Return the state of a sweep as lines that fit the width: its budget, its best trial, rungs and newest trials."""
    state = Text.assemble(
        (sweep["state"], STATE_STYLE.get(sweep["state"], "")), "  ", shorten_middle(sweep["name"], max(width - 40, 12))
    )
    state.append(f"  {sweep['id'][:SHORT_ID]}  {format_duration(sweep['elapsed_s'])}", style="dim")
    if sweep["finish_reason"]:
        state.append(f"  {sweep['finish_reason']}", style="dim")
    parts: list[RenderableType] = [state, Text(format_counts(sweep, width))]
    parts.append(Text(format_best(sweep, width), style="green" if sweep["best"] else "dim"))
    rungs = sweep.get("rungs") or []
    if rungs:
        parts.append(build_ladder(rungs, width))
    if trials:
        parts.append(build_trial_table(trials, width))
    return Group(*parts)


def format_counts(sweep: SweepResponse, width: int) -> str:
    """Return what the sweep has used of its budget, and the number of trials by state."""
    counts = sweep["trials"]
    parts = [f"trials {format_spent(sweep, 'trials')}", f"epochs {format_spent(sweep, 'epochs')}"]
    if sweep["budget"]["hours"]["limit"] is not None:
        parts.append(f"hours {format_spent(sweep, 'hours')}")
    parts += [f"{counts[name]} {name}" for name in TRIAL_STATES if counts.get(name)]
    return fit_parts(parts, width)


def format_spent(sweep: SweepResponse, name: str) -> str:
    """Return the used part of a limit, such as `12/60`; without a limit only `12`."""
    spent = sweep["budget"][name]
    return format_number(spent["used"]) + ("" if spent["limit"] is None else f"/{format_number(spent['limit'])}")


def format_best(sweep: SweepResponse, width: int) -> str:
    """Return the best score so far with its parameters."""
    best, metric = sweep["best"], sweep["objective"]["metric"]
    if best is None:
        return f"no {metric} yet"
    text = f"best {metric} {format_number(best['score'])}  trial {best['number']}"
    return fit_parts([text, *_list_parameters(best["parameters"])], width)


def format_parameters(parameters: Mapping[str, Any]) -> str:
    """Return the values of parameters in one line."""
    return "  ".join(_list_parameters(parameters))


def build_ladder(rungs: Sequence[SweepRung], width: int) -> Table:
    """Return a table of the milestones: how many trials have reached each."""
    table = _create_table("EPOCHS", "REACHED", "BEST", "")
    total = max(rung["num_trials"] for rung in rungs)
    for rung in rungs:
        best = rung["best_score"]
        table.add_row(
            str(rung["epochs"]),
            f"{rung['num_reached']}/{rung['num_trials']}",
            ABSENT if best is None else format_number(best),
            format_bar(rung["num_reached"], total, max(min(width - 40, BAR_WIDTH), 4)),
        )
    return table


def build_trial_table(trials: Sequence[SweepTrialResponse], width: int) -> Table:
    """Return a table of trials. Parameters that do not fit the width are left out."""
    table = _create_table("TRIAL", "STATE", "EPOCHS", "SCORE", "PARAMETERS")
    for trial in trials:
        score, reason = trial["best_score"], trial["reason"]
        parts = [*([reason] if reason and trial["state"] in ("failed", "refused") else [])]
        table.add_row(
            str(trial["number"]),
            format_state(trial["state"]),
            str(trial["epochs"]),
            ABSENT if score is None else format_number(score),
            fit_parts([*parts, *_list_parameters(trial["parameters"])], max(width - 42, 10)),
        )
    return table


def _list_parameters(parameters: Mapping[str, Any]) -> Iterable[str]:
    """Yield each parameter as its name and its value, such as `lr=0.001`. Equal names are shown as whole pointers."""
    names = Counter(pointer.rpartition("/")[2] for pointer in parameters)
    for pointer, value in parameters.items():
        name = pointer.rpartition("/")[2]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        text = format_number(value) if is_number else json.dumps(value, ensure_ascii=False)
        yield f"{name if names[name] == 1 else pointer}={text.strip(chr(34))}"


def _create_table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table
