"""Renders one job: its state, progress, metrics, failure and history."""

from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

from candela.jobs import Job
from candela.rendering import terminal
from candela.rendering.formats import (
    format_epochs,
    format_eta,
    format_metric,
    format_state,
    format_time,
    sort_metrics,
    wrap_parts,
)
from candela.rendering.reproduction_view import list_verdict_lines
from candela.types import Number

INDENT = 11  # of the values


def print_job(job: Job) -> None:
    fields = job.response
    heading = Text.assemble((job.name, "bold"), f"  {job.id}  ", format_state(job.state))
    terminal.console.print(heading.append(f"  attempt {fields['attempt']}"))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=INDENT - 2)
    table.add_column(overflow="fold")
    for label, text in _list_lines(job):
        table.add_row(f"  {label}", text)
    terminal.print_renderable(table)
    for move in fields["transitions"]:
        line = f"  {format_time(move['at'])}  {move['to']}  {move['reason'] or ''}".rstrip()
        terminal.console.print(line, style="dim", markup=False, soft_wrap=not terminal.is_limited(terminal.console))


def _list_lines(job: Job) -> Iterator[tuple[str, Text | str]]:
    fields = job.response
    if progress := fields["progress"]:
        eta = format_eta(progress.get("eta_seconds")) if job.state == "running" else ""
        if progress.get("epoch") or not job.is_finished:  # jobs of other kinds than `train` have no epochs
            yield "epoch", f"{format_epochs(progress)}  {eta}".rstrip()
    if fields["metrics"]:
        yield "metrics", _wrap_metrics(fields["metrics"])
    if best := job.best_epoch:
        yield "best", _wrap_metrics(best["metrics"], f"epoch {best['epoch'] or '?'}:")
    if tags := fields.get("tags"):
        yield "tags", Text("  ".join(tags))
    if note := fields.get("note"):
        yield "note", Text(note)
    if fields["stop_reason"]:
        yield "stopped", Text(fields["stop_reason"])
    if model := fields["model"]:
        yield "model", Text(f"{model['name']}@{model['version']}", style="bold")
    if fields["kind"] == "reproduce" and fields["result"]:
        yield from list_verdict_lines(fields["result"])
    if failure := fields["failure"]:
        yield from _list_failure_lines(dict(failure))


def _list_failure_lines(failure: dict[str, Any]) -> Iterator[tuple[str, Text]]:
    yield "failed", Text.assemble((str(failure.get("message")), "red"), f" ({failure.get('code')})")
    if failure.get("hint"):
        yield "hint", Text(str(failure["hint"]))


def _wrap_metrics(metrics: dict[str, Number], prefix: str = "") -> Text:
    """Return lines of metrics. The name and the value of a metric are never on different lines."""
    parts = [format_metric(name, metrics[name]) for name in sort_metrics(metrics)]
    if prefix:
        parts[0:1] = [f"{prefix} {parts[0]}"] if parts else [prefix]
    return Text("\n".join(wrap_parts(parts, max(1, terminal.console.width - INDENT))))
