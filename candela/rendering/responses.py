"""Renders responses in the terminal: lists of files, datasets, models and workers, and predictions."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.text import Text

from candela.rendering import terminal
from candela.rendering.formats import (
    MINUTES,
    format_metrics,
    format_number,
    format_sparkline,
    format_state,
    format_time,
)
from candela.rendering.terminal import create_table, print_table
from candela.types import (
    Artifact,
    Checkpoint,
    ClassScoreResponse,
    Dataset,
    DatasetVersion,
    Prediction,
    SampleResponse,
    Series,
    UploadResponse,
)

BAR_WIDTH = 30
MAX_VALUES = 4  # of an embedding


def print_samples(samples: Sequence[SampleResponse]) -> None:
    table = create_table("SAMPLE", "NAME", "LABELS", "VALUES")
    for sample in samples:
        targets = ", ".join(f"{value:g}" for value in sample["targets"] or ())
        first_row = (sample["rows"] or [{}])[0]
        values = "  ".join(f"{column}={'' if value is None else value}" for column, value in first_row.items())
        labels = ", ".join(sample["labels"]) or targets
        table.add_row(f"{sample['split']}/{sample['index']}", escape(sample["name"]), escape(labels), escape(values))
    print_table(table, "no samples")


def print_series(curves: Sequence[Series]) -> None:
    table = create_table("METRIC", "LAST", "LOWEST", "HIGHEST", "TREND")
    for curve in curves:
        values = [float(point["value"]) for point in curve["points"]]
        finite = [value for value in values if math.isfinite(value)] or [math.nan]
        last = values[-1] if values else math.nan
        numbers = [format_number(last), format_number(min(finite)), format_number(max(finite))]
        table.add_row(
            f"{curve['split']}_{curve['name']}", *numbers, format_sparkline(values, terminal.get_trend_width())
        )
    print_table(table, "no metrics yet")


def print_artifacts(files: Sequence[Artifact]) -> None:
    table = create_table("NAME", "TYPE", "BYTES", "SHA256", "CREATED")
    for file in files:
        created = format_time(file["created_at"])
        table.add_row(file["name"], file["media_type"], str(file["size_bytes"]), file["sha256"][:12], created)
    print_table(table, "no files yet")


def print_checkpoints(checkpoints: Sequence[Checkpoint]) -> None:
    table = create_table("NUMBER", "EPOCH", "STEP", "TAGS", "BYTES", "METRICS")
    for found in checkpoints:
        places = (str(found["number"]), str(found["epoch"]), str(found["step"]), " ".join(found["tags"]))
        table.add_row(*places, str(found["size_bytes"]), format_metrics(found["metrics"]))
    print_table(table, "no checkpoints yet")


def print_datasets(listed_datasets: Sequence[Dataset]) -> None:
    table = create_table("NAME", "VERSION", "STATE", "SAMPLES", "CLASSES", "SHAPE")
    for dataset in listed_datasets:
        for version in dataset["versions"]:
            table.add_row(dataset["name"], *_dataset_cells(version))
        if not dataset["versions"]:
            table.add_row(dataset["name"], "-", Text("built in, not imported yet", style="dim"), "", "", "")
    print_table(table, "no datasets")


def print_dataset_versions(name: str, versions: Sequence[DatasetVersion]) -> None:
    """Print versions with their size and state, and what was wrong with them."""
    print_datasets([{"name": name, "versions": [*versions]}])
    for version in versions:
        _print_import_problems(version)


def print_dataset_version(name: str, version: DatasetVersion) -> None:
    terminal.console.print(f"{name} version {version['version']} is", format_state(version["state"]))
    _print_import_problems(version)


def _print_import_problems(version: DatasetVersion) -> None:
    for warning in version.get("warnings") or ():
        terminal.console.print(f"  [yellow]{escape(warning)}[/yellow]")
    if failure := version.get("failure"):
        terminal.console.print(
            f"  [red]{escape(str(failure.get('message')))}[/red] {escape(str(failure.get('hint') or ''))}"
        )


def print_uploads(uploads: Sequence[UploadResponse]) -> None:
    table = create_table("ID", "DATASET", "STATE", "RECEIVED", "EXPIRES")
    for upload in uploads:
        received = f"{upload['offset'] / 2**20:.1f} of {upload['length'] / 2**20:.1f} MiB"
        table.add_row(
            upload["id"], upload["dataset"], upload["state"], received, format_time(upload["expires_at"], MINUTES)
        )
    print_table(table, "no uploads")


def print_models(listed_models: Sequence[Mapping[str, Any]]) -> None:
    table = create_table("NAME", "VERSIONS", "ALIASES")
    for model in listed_models:
        versions = ", ".join(str(version["version"]) for version in model["versions"])
        versions += ", …" * bool(model.get("versions_cursor"))
        aliases = ", ".join(f"{alias} = {version}" for alias, version in model["aliases"].items())
        table.add_row(model["name"], versions, aliases)
    print_table(table, "no models")


def print_workers(listed_workers: Sequence[Mapping[str, Any]]) -> None:
    table = create_table("ID", "SLOTS", "DEVICES", "HEARTBEAT", "ACTIVE", "JOBS")
    for worker in listed_workers:
        devices = ", ".join(str(device["name"]) for device in worker["devices"])
        takes_work = Text("yes", style="green") if worker["is_consuming"] else Text("no", style="red")
        heartbeat_at = format_time(worker["beat_at"])
        table.add_row(worker["id"], str(worker["slots"]), devices, heartbeat_at, takes_work, ", ".join(worker["jobs"]))
    print_table(table, "no workers")


def print_system(state: Mapping[str, Any]) -> None:
    """Print versions, devices, the jobs by state and the workers of the server."""
    versions = "  ".join(f"{name} {version}" for name, version in state["versions"].items())
    jobs = "  ".join(f"{name} {count}" for name, count in state["jobs"].items() if count) or "none"
    lines = {"versions": versions, "devices": ", ".join(state["devices"]) or "none", "jobs": jobs}
    table = create_table("", "")
    table.show_header = False
    for name, text in (lines | {"queued": str(state["queue_depth"])}).items():
        table.add_row(name, escape(text))
    for process in state["inference"]:
        table.add_row("inference", escape(process["device_name"] or process["device"]))
    terminal.print_renderable(table)
    print_workers(state["workers"])


def print_embeddings(embeddings: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Print the size and the first values of each embedding; `--json` prints all values."""
    table = create_table("NAME", "SIZE", "VALUES")
    for name, embedding in zip(names, embeddings, strict=True):
        if "error" in embedding:
            table.add_row(escape(name), "", Text(str(embedding["error"].get("detail")), style="red"))
        else:
            vector = embedding["vector"]
            first = "  ".join(format_number(value) for value in vector[:MAX_VALUES])
            table.add_row(escape(name), str(len(vector)), f"{first}{'  …' * (len(vector) > MAX_VALUES)}")
    print_table(table, "no images")


def print_predictions(predictions: Sequence[Prediction], names: Sequence[str]) -> None:
    for name, prediction in zip(names, predictions, strict=True):
        terminal.console.print(f"[bold]{escape(name)}[/bold]")
        terminal.console.print(format_prediction(prediction))


def format_prediction(prediction: Prediction) -> Text:
    """Format one prediction: the most probable classes as bars, the values, or the error."""
    if "error" in prediction:
        return Text(f"  {prediction['error'].get('detail')}", style="red")
    if "values" in prediction:
        return Text("  " + ", ".join(format_number(value) for value in prediction["values"]))
    return Text("\n").join(_format_bar(candidate) for candidate in prediction["top_k"])


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
