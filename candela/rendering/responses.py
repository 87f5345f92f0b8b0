"""Renders responses in the terminal: tables, bars and sparklines."""

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
    ClassScoreResponse,
    Dataset,
    DatasetVersion,
    Number,
    Prediction,
    Predictions,
    Progress,
    SampleResponse,
    Series,
    UploadResponse,
)

console = Console(highlight=False)
STATE_STYLE = {"succeeded": "green", "ready": "green", "failed": "red", "cancelled": "yellow", "running": "cyan"}
LEVELS = "▁▂▃▄▅▆▇█"
BAR_WIDTH = 30


def print_json_or(response: object, as_json: bool, show: Callable[[], None]) -> None:
    """Print the response as JSON if requested, otherwise call `show`."""
    if as_json:
        print(json.dumps(response, indent=2, ensure_ascii=False))
    else:
        show()


def print_jobs(listed_jobs: Sequence[Job]) -> None:
    table = create_table("ID", "NAME", "STATE", "EPOCH", "METRICS", "CREATED")
    for job in listed_jobs:
        progress = job.response["progress"]
        created = job.response["created_at"][:19].replace("T", " ")
        table.add_row(
            job.id,
            job.name,
            format_state(job.state),
            format_epochs(progress),
            format_metrics(job.latest_metrics),
            created,
        )
    print_table(table, "no jobs")


def print_samples(samples: Sequence[SampleResponse]) -> None:
    table = create_table("SAMPLE", "NAME", "LABELS", "VALUES")
    for sample in samples:
        targets = ", ".join(f"{value:g}" for value in sample["targets"] or ())
        first_row = (sample["rows"] or [{}])[0]
        values = "  ".join(f"{column}={'' if value is None else value}" for column, value in first_row.items())
        labels = ", ".join(sample["labels"]) or targets
        table.add_row(f"{sample['split']}/{sample['index']}", escape(sample["name"]), escape(labels), escape(values))
    print_table(table, "no samples")


def print_job(job: Job) -> None:
    fields = job.response
    console.print(
        f"[bold]{escape(job.name)}[/bold]  {job.id} ", format_state(job.state), f" attempt {fields['attempt']}"
    )
    if fields["progress"]:
        console.print(f"  epoch    {format_epochs(fields['progress'])}")
    if fields["metrics"]:
        console.print(f"  metrics  {format_metrics(fields['metrics'])}")
    if best := job.best_epoch:
        console.print(f"  best     epoch {best['epoch'] or '?'}: {format_metrics(best['metrics'])}")
    if fields.get("tags"):
        console.print(f"  tags     {escape('  '.join(fields['tags']))}")
    if note := fields.get("note"):
        console.print(f"  note     {escape(note)}")
    if fields["stop_reason"]:
        console.print(f"  stopped  {escape(fields['stop_reason'])}")
    if fields["model"]:
        console.print(f"  model    [bold]{fields['model']['name']}@{fields['model']['version']}[/bold]")
    if failure := fields["failure"]:
        console.print(f"  [red]failed   {escape(str(failure.get('message')))}[/red] ({failure.get('code')})")
        if failure.get("hint"):
            console.print(f"  hint     {escape(str(failure['hint']))}")
    for move in fields["transitions"]:
        reason = f"  {escape(move['reason'] or '')}"
        console.print(f"  {move['at'][:19].replace('T', ' ')}  {move['to']}{reason}", style="dim")


def print_series(curves: Sequence[Series]) -> None:
    table = create_table("METRIC", "LAST", "LOWEST", "HIGHEST", "TREND")
    for curve in curves:
        values = [float(point["value"]) for point in curve["points"]]
        finite = [value for value in values if math.isfinite(value)] or [math.nan]
        last = values[-1] if values else math.nan
        numbers = [format_number(last), format_number(min(finite)), format_number(max(finite))]
        table.add_row(f"{curve['split']}_{curve['name']}", *numbers, format_sparkline(values))
    print_table(table, "no metrics yet")


def print_artifacts(files: Sequence[Artifact]) -> None:
    table = create_table("NAME", "TYPE", "BYTES", "SHA256", "CREATED")
    for file in files:
        created = file["created_at"][:19].replace("T", " ")
        table.add_row(file["name"], file["media_type"], str(file["size_bytes"]), file["sha256"][:12], created)
    print_table(table, "no files yet")


def print_datasets(listed_datasets: Sequence[Dataset]) -> None:
    table = create_table("NAME", "VERSION", "STATE", "SAMPLES", "CLASSES", "SHAPE")
    for dataset in listed_datasets:
        for version in dataset["versions"]:
            table.add_row(dataset["name"], *_dataset_cells(version))
        if not dataset["versions"]:
            table.add_row(dataset["name"], "-", Text("built in, not imported yet", style="dim"), "", "", "")
    print_table(table, "no datasets")


def print_dataset_version(name: str, version: DatasetVersion) -> None:
    console.print(f"{name} version {version['version']} is", format_state(version["state"]))
    for warning in version.get("warnings") or ():
        console.print(f"  [yellow]{escape(warning)}[/yellow]")
    if failure := version.get("failure"):
        console.print(f"  [red]{escape(str(failure.get('message')))}[/red] {escape(str(failure.get('hint') or ''))}")


def print_uploads(uploads: Sequence[UploadResponse]) -> None:
    table = create_table("ID", "DATASET", "STATE", "RECEIVED", "EXPIRES")
    for upload in uploads:
        received = f"{upload['offset'] / 2**20:.1f} of {upload['length'] / 2**20:.1f} MiB"
        table.add_row(upload["id"], upload["dataset"], upload["state"], received, upload["expires_at"][:16] + "Z")
    print_table(table, "no uploads")


def print_models(listed_models: Sequence[Mapping[str, Any]]) -> None:
    table = create_table("NAME", "VERSIONS", "ALIASES")
    for model in listed_models:
        versions = [str(v["version"]) if isinstance(v, Mapping) else str(v) for v in model.get("versions", [])]
        aliases = model.get("aliases") or {}
        pairs = aliases.items() if isinstance(aliases, Mapping) else ((a["alias"], a["version"]) for a in aliases)
        table.add_row(model["name"], ", ".join(versions), ", ".join(f"{a} = {v}" for a, v in pairs))
    print_table(table, "no models")


def print_workers(listed_workers: Sequence[Mapping[str, Any]]) -> None:
    table = create_table("ID", "SLOTS", "DEVICES", "HEARTBEAT", "ACTIVE", "JOBS")
    for worker in listed_workers:
        devices = ", ".join(str(device["name"]) for device in worker["devices"])
        takes_work = Text("yes", style="green") if worker["is_consuming"] else Text("no", style="red")
        heartbeat_at = worker["beat_at"][:19].replace("T", " ")
        table.add_row(worker["id"], str(worker["slots"]), devices, heartbeat_at, takes_work, ", ".join(worker["jobs"]))
    print_table(table, "no workers")


def print_predictions(response: Predictions, names: Sequence[str]) -> None:
    for name, prediction in zip(names, response["predictions"], strict=True):
        console.print(f"[bold]{escape(name)}[/bold]")
        console.print(format_prediction(prediction))


def format_prediction(prediction: Prediction) -> Text:
    """Format one prediction: the most probable classes as bars, the values, or the error."""
    if "error" in prediction:
        return Text(f"  {prediction['error'].get('detail')}", style="red")
    if "values" in prediction:
        return Text("  " + ", ".join(format_number(value) for value in prediction["values"]))
    return Text("\n").join(_format_bar(candidate) for candidate in prediction["top_k"])


def format_state(name: str) -> Text:
    return Text(name, style=STATE_STYLE.get(name, ""))


def format_epochs(progress: Progress) -> str:
    return f"{progress.get('epoch', 0)}/{progress.get('epochs', '?')}" if progress else ""


def format_metrics(metrics: Mapping[str, Number]) -> str:
    """Format the names and values of metrics in one line."""
    return "  ".join(f"{name} {format_number(float(value))}" for name, value in metrics.items())


def format_number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else str(value)


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


def _format_bar(candidate: ClassScoreResponse) -> Text:
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
        format_state(version["state"]),
        "" if images is None else f"{images}",
        "" if classes is None else f"{len(classes)}",
        "" if shape is None else "x".join(map(str, shape)),
    )


def create_table(*headings: str) -> Table:
    """Create a table without lines."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, no_wrap=heading in {"ID", "NAME", "TREND"}, overflow="fold")
    return table


def print_table(table: Table, when_empty: str) -> None:
    """Print a table, or the text if it has no rows."""
    console.print(table if table.row_count else Text(when_empty, style="dim"))
