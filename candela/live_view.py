"""A job and an upload, followed live in the terminal; plain lines where there is no terminal."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from candela import render
from candela.datasets import Datasets
from candela.errors import CandelaError
from candela.jobs import Job
from candela.types import DatasetVersion, Event, Number

STATES_WORTH_A_LINE = frozenset({"queued", "running", "paused", "cancelling", "pausing"})


def follow(job: Job, *, quiet: bool = False, console: Console | None = None) -> None:
    """Show a job until it ends: a bar with epoch, metrics and time left, and what happens to it.

    Raises:
        CandelaError: the user left; the job goes on.
    """
    view = LiveJobView(console or Console(stderr=True, highlight=False, quiet=quiet))
    try:
        with view.progress:
            for event in job.watch():
                view.show(event)
    except KeyboardInterrupt:
        raise CandelaError(f"no longer watching; the job goes on (candela watch {job.id})") from None


class LiveJobView:
    """Turns events into a live line; knows nothing of where they come from."""

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
        self._epoch, self._line = 0, ""  # what is known of the epoch so far, without a terminal
        self._show: dict[str, Callable[[Event], None]] = {
            "state": self._state,
            "metrics": self._metrics,
            "log": self._log,
            "end": self._end,
        }

    def show(self, event: Event) -> None:
        """Take one event in; kinds that are not known are left alone."""
        if show := self._show.get(event["type"]):
            show(event)

    def _flush(self) -> None:
        """Print the epoch that is over: its validation is told after its training."""
        if self._line:
            self._console.print(self._line, markup=False, soft_wrap=True)
            self._line = ""

    def _state(self, event: Event) -> None:
        self._flush()
        to, reason = str(event["payload"].get("to")), event["payload"].get("reason")
        self.progress.update(self._task, description=to)
        if to in STATES_WORTH_A_LINE:
            self._console.print(f"{to}: {reason}" if reason else to, style="dim", markup=False)

    def _metrics(self, event: Event) -> None:
        done = event["payload"].get("progress") or {}
        metrics: dict[str, Number] = event["payload"].get("metrics") or {}
        epoch, epochs = int(done.get("epoch") or 0), int(done.get("epochs") or 0)
        self.progress.update(
            self._task,
            description=f"epoch {epoch}/{epochs}",
            completed=done.get("step"),
            total=done.get("steps"),
            measures=render.measures(metrics),
            eta=_eta(done.get("eta_seconds")),
        )
        if not self._console.is_terminal and epoch > 0:
            if epoch > self._epoch:
                self._flush()
            self._epoch, self._line = epoch, f"epoch {epoch}/{epochs}  {render.measures(metrics)}"

    def _log(self, event: Event) -> None:
        if event["payload"].get("level") in {"warning", "error"}:
            self._console.print(str(event["payload"].get("message")), style="yellow", markup=False)

    def _end(self, event: Event) -> None:
        self._flush()
        self.progress.update(self._task, description=str(event["payload"].get("state", "ended")), eta="")


def upload(
    datasets: Datasets, name: str, path: Path, options: Mapping[str, Any], *, wait: bool, quiet: bool = False
) -> DatasetVersion:
    """Upload a folder or archive with a bar, and wait for its import unless told not to."""
    console = Console(stderr=True, highlight=False, quiet=quiet)
    columns = [TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()]
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("uploading", total=None)
        version = datasets.add(
            name, path, options=options, progress=lambda sent, size: progress.update(task, completed=sent, total=size)
        )
        progress.update(task, description="importing")
        return datasets.wait(name, version["version"]) if wait else version


def _eta(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} left"
