"""Answers for people: tables, bars and small curves in the terminal."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from candela.jobs import Job
from candela.types import (
    Artifact,
    Candidate,
    Dataset,
    DatasetVersion,
    Number,
    Prediction,
    Predictions,
    Progress,
    Series,
)

out = Console(highlight=False)
STATE_STYLE = {"succeeded": "green", "ready": "green", "failed": "red", "cancelled": "yellow", "running": "cyan"}
LEVELS = "▁▂▃▄▅▆▇█"
BAR_WIDTH = 30


def json_or(answer: object, as_json: bool, show: Callable[[], None]) -> None:
    """Print the answer as JSON, or show it."""
    if as_json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        show()


def jobs(found: Sequence[Job]) -> None:
    table = _table("ID", "NAME", "STATE", "EPOCH", "METRICS", "CREATED")
    for job in found:
        progress = job.answer["progress"]
        created = job.answer["created_at"][:19].replace("T", " ")
        table.add_row(job.id, job.name, state(job.state), epochs(progress), measures(job.latest_metrics), created)
    _print_table(table, "no jobs")


def job(shown: Job) -> None:
    answer = shown.answer
    out.print(f"[bold]{escape(shown.name)}[/bold]  {shown.id} ", state(shown.state), f" attempt {answer['attempt']}")
    if answer["progress"]:
        out.print(f"  epoch    {epochs(answer['progress'])}")
    if answer["metrics"]:
        out.print(f"  metrics  {measures(answer['metrics'])}")
    if answer["stop_reason"]:
        out.print(f"  stopped  {escape(answer['stop_reason'])}")
    if answer["model"]:
        out.print(f"  model    [bold]{answer['model']['name']}@{answer['model']['version']}[/bold]")
    if failure := answer["failure"]:
        out.print(f"  [red]failed   {escape(str(failure.get('message')))}[/red] ({failure.get('code')})")
        if failure.get("hint"):
            out.print(f"  hint     {escape(str(failure['hint']))}")
    for move in answer["transitions"]:
        reason = f"  {escape(move['reason'] or '')}"
        out.print(f"  {move['at'][:19].replace('T', ' ')}  {move['to']}{reason}", style="dim")


def series(found: Sequence[Series]) -> None:
    table = _table("CURVE", "LAST", "LOWEST", "HIGHEST", "COURSE")
    for curve in found:
        values = [float(point["value"]) for point in curve["points"]]
        finite = [value for value in values if math.isfinite(value)] or [math.nan]
        last = values[-1] if values else math.nan
        numbers = [number(last), number(min(finite)), number(max(finite))]
        table.add_row(f"{curve['split']}_{curve['name']}", *numbers, sparkline(values))
    _print_table(table, "no curves yet")


def artifacts(found: Sequence[Artifact]) -> None:
    table = _table("NAME", "TYPE", "BYTES", "SHA256", "CREATED")
    for file in found:
        created = file["created_at"][:19].replace("T", " ")
        table.add_row(file["name"], file["media_type"], str(file["size_bytes"]), file["sha256"][:12], created)
    _print_table(table, "no files yet")


def datasets(found: Sequence[Dataset]) -> None:
    table = _table("NAME", "VERSION", "STATE", "PICTURES", "CLASSES", "SHAPE")
    for dataset in found:
        for version in dataset["versions"]:
            table.add_row(dataset["name"], *_dataset_cells(version))
        if not dataset["versions"]:
            table.add_row(dataset["name"], "-", Text("built in, not imported yet", style="dim"), "", "", "")
    _print_table(table, "no datasets")


def dataset_version(name: str, version: DatasetVersion) -> None:
    out.print(f"{name} version {version['version']} is", state(version["state"]))
    if failure := version.get("failure"):
        out.print(f"  [red]{escape(str(failure.get('message')))}[/red] {escape(str(failure.get('hint') or ''))}")


def models(found: Sequence[Mapping[str, Any]]) -> None:
    table = _table("NAME", "VERSIONS", "ALIASES")
    for model in found:
        versions = [str(v["version"]) if isinstance(v, Mapping) else str(v) for v in model.get("versions", [])]
        aliases = model.get("aliases") or {}
        pairs = aliases.items() if isinstance(aliases, Mapping) else ((a["alias"], a["version"]) for a in aliases)
        table.add_row(model["name"], ", ".join(versions), ", ".join(f"{a} = {v}" for a, v in pairs))
    _print_table(table, "no models")


def workers(found: Sequence[Mapping[str, Any]]) -> None:
    table = _table("ID", "SLOTS", "DEVICES", "HEARD OF", "TAKES WORK", "JOBS")
    for worker in found:
        devices = ", ".join(str(device["name"]) for device in worker["devices"])
        takes_work = Text("yes", style="green") if worker["is_consuming"] else Text("no", style="red")
        heard_of = worker["beat_at"][:19].replace("T", " ")
        table.add_row(worker["id"], str(worker["slots"]), devices, heard_of, takes_work, ", ".join(worker["jobs"]))
    _print_table(table, "no workers")


def predictions(answer: Predictions, names: Sequence[str]) -> None:
    for name, prediction in zip(names, answer["predictions"], strict=True):
        out.print(f"[bold]{escape(name)}[/bold]")
        out.print(prediction_text(prediction))


def prediction_text(prediction: Prediction) -> Text:
    """One picture's answer: its most probable classes as bars, its numbers, or what was wrong with it."""
    if "error" in prediction:
        return Text(f"  {prediction['error'].get('detail')}", style="red")
    if "values" in prediction:
        return Text("  " + ", ".join(number(value) for value in prediction["values"]))
    return Text("\n").join(_bar(candidate) for candidate in prediction["top_k"])


def state(name: str) -> Text:
    return Text(name, style=STATE_STYLE.get(name, ""))


def epochs(progress: Progress) -> str:
    return f"{progress.get('epoch', 0)}/{progress.get('epochs', '?')}" if progress else ""


def measures(metrics: Mapping[str, Number]) -> str:
    """Losses and the other latest values, short."""
    return "  ".join(f"{name} {number(float(value))}" for name, value in metrics.items())


def number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """The course of a curve in `width` characters at most; values that are no numbers show as `!`."""
    step = max(1, math.ceil(len(values) / width))
    thinned = values[::step]
    finite = [value for value in thinned if math.isfinite(value)]
    if not finite:
        return "!" * len(thinned)
    low, span = min(finite), (max(finite) - min(finite)) or 1.0
    top = len(LEVELS) - 1
    return "".join(LEVELS[round((v - low) / span * top)] if math.isfinite(v) else "!" for v in thinned)


def _bar(candidate: Candidate) -> Text:
    filled = round(candidate["probability"] * BAR_WIDTH)
    bar = Text(f"  {candidate['label']:>12} ")
    bar.append("█" * filled, style="green").append("·" * (BAR_WIDTH - filled), style="dim")
    return bar.append(f" {candidate['probability']:6.1%}")


def _dataset_cells(version: DatasetVersion) -> Iterable[str | Text]:
    shape = version.get("image_shape")
    classes = version.get("classes")
    images = version.get("num_samples")
    return (
        str(version["version"]),
        state(version["state"]),
        "" if images is None else f"{images}",
        "" if classes is None else f"{len(classes)}",
        "" if shape is None else "x".join(map(str, shape)),
    )


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, no_wrap=heading in {"ID", "NAME", "COURSE"}, overflow="fold")
    return table


def _print_table(table: Table, when_empty: str) -> None:
    out.print(table if table.row_count else Text(when_empty, style="dim"))
