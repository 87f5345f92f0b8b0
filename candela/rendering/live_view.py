"""Shows the progress of jobs and uploads: as a progress bar in a terminal, otherwise as lines."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from candela.client import Client
from candela.datasets import Datasets
from candela.errors import CandelaError
from candela.folder_archive import format_skipped
from candela.jobs import Job
from candela.rendering import responses as render
from candela.types import DatasetVersion, JobEvent, Number

WARNING_LEVELS = frozenset({"warning", "error"})
STATES_WORTH_A_LINE = frozenset({"queued", "running", "paused", "cancelling", "pausing"})


def follow_job(job: Job, *, quiet: bool = False, console: Console | None = None) -> None:
    """Show the progress of a job until it ends: epoch, metrics, remaining time and state changes.

    Raises:
        CandelaError: the user interrupted the view; the job continues.
    """
    view = LiveJobView(console or Console(stderr=True, highlight=False, quiet=quiet))
    try:
        with view.progress:
            for event in job.watch():
                view.show_event(event)
    except KeyboardInterrupt:
        raise CandelaError(f"stopped watching; the job continues. Watch it again: candela watch {job.id}") from None


def follow_jobs(client: Client, jobs: Sequence[Job], *, console: Console | None = None) -> None:
    """Print the epochs and state changes of several jobs until all end, as lines that start with the name of the job.

    Raises:
        CandelaError: the user interrupted the view; the jobs continue.
    """
    console = console or Console(stderr=True, highlight=False)
    labels = {job.id: f"{job.name} {job.id[:8]}" for job in jobs}
    try:
        for event in client.events(jobs):
            if line := _format_event(event):
                console.print(f"{labels[event['job']]}  {line}", markup=False, soft_wrap=True)
    except KeyboardInterrupt:
        ids = " ".join(job.id for job in jobs)
        raise CandelaError(f"stopped watching; the jobs continue. Watch them again: candela watch {ids}") from None
    for job in jobs:
        job.refresh()


class LiveJobView:
    """Shows the events of a job. In a terminal, one line is updated; otherwise, each epoch gets a line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = [
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[measures]}"),
            TextColumn("{task.fields[eta]}", style="cyan"),
        ]
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task: TaskID = self.progress.add_task("waiting", total=None, measures="", eta="")
        self._epoch, self._line = 0, ""  # the current epoch and its line, for jobs that send `metrics` events
        self._show: dict[str, Callable[[JobEvent], object]] = {
            "state": self._show_state,
            "epoch": self._show_epoch,
            "progress": self._show_progress,
            "metrics": self._show_metrics,
            "log": self._show_log,
            "end": self._show_end,
        }

    def show_event(self, event: JobEvent) -> None:
        """Show one event. Events of unknown types are ignored."""
        if show := self._show.get(event["type"]):
            show(event)

    def _print_epoch(self) -> None:
        """Print the line of the last epoch, which was kept until its validation metrics arrived."""
        if self._line:
            self._console.print(self._line, markup=False, soft_wrap=True)
            self._line = ""

    def _show_state(self, event: JobEvent) -> None:
        self._print_epoch()
        to, reason = str(event["payload"].get("to")), event["payload"].get("reason")
        self.progress.update(self._task, description=to)
        if to in STATES_WORTH_A_LINE:
            self._console.print(f"{to}: {reason}" if reason else to, style="dim", markup=False)

    def _show_epoch(self, event: JobEvent) -> None:
        """Show a complete epoch with its metrics. If the output is not a terminal, this is a line."""
        epoch, epochs, metrics = self._show_progress(event)
        if not self._console.is_terminal:
            self._console.print(_format_epoch(epoch, epochs, metrics), markup=False, soft_wrap=True)

    def _show_metrics(self, event: JobEvent) -> None:
        """Show an event of an older server. It does not say whether the epoch is complete."""
        epoch, epochs, metrics = self._show_progress(event)
        if not self._console.is_terminal and epoch > 0:
            if epoch > self._epoch:
                self._print_epoch()
            self._epoch, self._line = epoch, _format_epoch(epoch, epochs, metrics)

    def _show_progress(self, event: JobEvent) -> tuple[int, int, dict[str, Number]]:
        """Update the progress bar. Return the current epoch, the number of epochs and the metrics of the event."""
        done = event["payload"].get("progress") or {}
        metrics: dict[str, Number] = event["payload"].get("metrics") or {}
        epoch, epochs = int(done.get("epoch") or 0), int(done.get("epochs") or 0)
        self.progress.update(
            self._task,
            description=f"epoch {epoch}/{epochs}",
            completed=done.get("step"),
            total=done.get("steps"),
            measures=render.format_metrics(metrics),
            eta=_format_eta(done.get("eta_seconds")),
        )
        return epoch, epochs, metrics

    def _show_log(self, event: JobEvent) -> None:
        if event["payload"].get("level") in WARNING_LEVELS:
            self._console.print(str(event["payload"].get("message")), style="yellow", markup=False)

    def _show_end(self, event: JobEvent) -> None:
        self._print_epoch()
        self.progress.update(self._task, description=str(event["payload"].get("state", "ended")), eta="")


def upload_dataset(
    datasets: Datasets,
    name: str,
    path: Path,
    options: Mapping[str, Any],
    *,
    wait: bool,
    quiet: bool = False,
    resumable: bool | None = None,
) -> DatasetVersion:
    """Upload a folder, archive or table with a progress bar. With `wait`, also wait until the import has ended."""
    console = Console(stderr=True, highlight=False, quiet=quiet)
    columns = [TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()]
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("uploading", total=None)
        version = datasets.add(
            name,
            path,
            options=options,
            progress=lambda sent, size: progress.update(task, completed=sent, total=size),
            on_skipped=lambda skipped: console.print(format_skipped(skipped), style="yellow", markup=False),
            resumable=resumable,
            on_resumed=lambda sent, size: console.print(_format_resumed(sent, size), style="dim", markup=False),
        )
        progress.update(task, description="importing")
        return datasets.wait(name, version["version"]) if wait else version


def _format_event(event: JobEvent) -> str:
    """Return the line of an event, or an empty string if it has none."""
    payload = event["payload"]
    match event["type"]:
        case "state" if payload.get("to") in STATES_WORTH_A_LINE:
            return f"{payload['to']}: {payload['reason']}" if payload.get("reason") else str(payload["to"])
        case "epoch":
            progress = payload["progress"]
            return _format_epoch(progress["epoch"], progress["epochs"], payload["metrics"])
        case "log" if payload.get("level") in WARNING_LEVELS:
            return str(payload.get("message"))
        case "end":
            return str(payload.get("state", "ended"))
        case _:
            return ""


def export_version(datasets: Datasets, name: str, version: int, path: Path) -> Path:
    """Download a version as a zip archive, and show the number of received bytes. Return the path of the archive."""
    console = Console(stderr=True, highlight=False)
    columns = [TextColumn("exporting"), DownloadColumn(), TransferSpeedColumn()]
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("exporting", total=None)
        return datasets.export(name, version, path, progress=lambda size: progress.update(task, completed=size))


def _format_resumed(sent: int, size: int) -> str:
    return f"continuing an earlier upload at {sent / 1e6:.1f} of {size / 1e6:.1f} MB"


def _format_epoch(epoch: int, epochs: int, metrics: Mapping[str, Number]) -> str:
    return f"epoch {epoch}/{epochs}  {render.format_metrics(metrics)}"


def _format_eta(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} left"
