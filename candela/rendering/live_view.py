"""Shows the progress of jobs: live in a terminal, otherwise as lines."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console, Group
from rich.live import Live

from candela.client import Client
from candela.errors import WatchInterrupted
from candela.event_stream import is_milestone_pause
from candela.jobs import Job
from candela.rendering.progress_line import ProgressLine
from candela.rendering.terminal import create_console, is_limited
from candela.types import JobEvent

WARNING_LEVELS = frozenset({"warning", "error"})
STATES_WORTH_A_LINE = frozenset({"queued", "running", "paused", "cancelling", "pausing"})
RESERVED_LINES = 4  # of the terminal: the prompt, and lines that scroll


def follow_job(job: Job, *, quiet: bool = False, console: Console | None = None) -> None:
    """Show the epoch, remaining time, metrics and state of a job until it ends or pauses at a milestone.

    Raises:
        WatchInterrupted: the user interrupted the view; the job continues.
    """
    console = console or create_console(stderr=True, quiet=quiet)
    view = LiveJobView(console)
    try:
        with _show_live(console, [view.line]):
            for event in job.watch():
                view.show_event(event)
    except KeyboardInterrupt:
        raise WatchInterrupted(f"stopped watching; the job continues. Watch it again: candela watch {job.id}") from None


def follow_jobs(client: Client, jobs: Sequence[Job], *, quiet: bool = False, console: Console | None = None) -> None:
    """Show the progress of several jobs until all have ended or are paused at milestones.

    In a terminal that is high enough, each job has a line.

    Raises:
        WatchInterrupted: the user interrupted the view; the jobs continue.
    """
    console = console or create_console(stderr=True, quiet=quiet)
    is_live = console.is_terminal and len(jobs) + RESERVED_LINES <= console.height
    views = {job.id: LiveJobView(console, (job.name, job.id), prints_changes=not is_live) for job in jobs}
    for view in views.values():
        view.line.name_width = max(len(job.name) for job in jobs) if is_live else 0
    try:
        with _show_live(console, [view.line for view in views.values()] if is_live else []):
            for event in _iterate_until_waiting(client, jobs):
                views[event["job"]].show_event(event)
    except KeyboardInterrupt:
        ids = " ".join(job.id for job in jobs)
        raise WatchInterrupted(f"stopped watching; the jobs continue. Watch them again: candela watch {ids}") from None
    for job in jobs:
        job.refresh()


def _iterate_until_waiting(client: Client, jobs: Sequence[Job]) -> Iterator[JobEvent]:
    """Yield the events of jobs until all have ended or are paused at milestones."""
    running = {job.id for job in jobs}
    has_milestone = False
    for event in client.events(jobs):
        yield event
        has_milestone = has_milestone or is_milestone_pause(event)
        if is_milestone_pause(event) or event["type"] == "end":
            running.discard(event["job"])
            if has_milestone and not running:
                # Past events do not show whether a job was resumed or extended since.
                running = {job.id for job in jobs if not _is_waiting(job.refresh())}
                if not running:
                    return
        elif event["type"] == "state":
            running.add(event["job"])


def _is_waiting(job: Job) -> bool:
    return job.is_finished or job.is_at_milestone


def _show_live(console: Console, lines: Sequence[ProgressLine]) -> AbstractContextManager[object]:
    """Show the lines at the bottom of a terminal while the context is open."""
    return Live(Group(*lines), console=console) if console.is_terminal and lines else nullcontext()


class LiveJobView:
    """Shows the events of a job: it updates the line of a terminal, and prints lines about changes.

    Args:
        console: receives the lines.
        job: the name and the id of the job, if the console shows several jobs.
        prints_changes: whether state changes are printed, and epochs too if the console is not a terminal.
    """

    def __init__(self, console: Console, job: tuple[str, str] | None = None, *, prints_changes: bool = True) -> None:
        self.line = ProgressLine(job)
        self._console = console
        self._prints_states = prints_changes
        self._prints_epochs = prints_changes and (job is not None or not console.is_terminal)
        self._epoch, self._pending = 0, ""  # the current epoch and its line, for jobs that send `metrics` events
        self._show: dict[str, Callable[[JobEvent], object]] = {
            "state": self._show_state,
            "epoch": self._show_epoch,
            "progress": self._update_line,
            "metrics": self._show_metrics,
            "log": self._show_log,
            "end": self._show_end,
        }

    def show_event(self, event: JobEvent) -> None:
        """Show one event. Events of unknown types are ignored."""
        if show := self._show.get(event["type"]):
            show(event)

    def _print(self, text: str, style: str = "") -> None:
        label = self.line.format_label(self._console.width)
        self._console.print(f"{label}{text}", style=style, markup=False, soft_wrap=not is_limited(self._console))

    def _print_epoch(self) -> None:
        """Print the line of the last epoch, which was kept until its validation metrics arrived."""
        if self._pending:
            self._console.print(self._pending, markup=False, soft_wrap=True)
            self._pending = ""

    def _show_state(self, event: JobEvent) -> None:
        self._print_epoch()
        to, reason = str(event["payload"].get("to")), event["payload"].get("reason")
        self.line.set_state(to)
        if to in STATES_WORTH_A_LINE and self._prints_states:
            self._print(f"{to}: {reason}" if reason else to, style="dim")

    def _show_epoch(self, event: JobEvent) -> None:
        """Show a complete epoch with its metrics. If the output is not a terminal, this is a line."""
        self._update_line(event)
        if self._prints_epochs:
            self._pending = self._format_epoch()
            self._print_epoch()

    def _show_metrics(self, event: JobEvent) -> None:
        """Show an event of an older server. It does not say whether the epoch is complete."""
        self._update_line(event)
        if self._prints_epochs and self.line.epoch > 0:
            if self.line.epoch > self._epoch:
                self._print_epoch()
            self._epoch, self._pending = self.line.epoch, self._format_epoch()

    def _update_line(self, event: JobEvent) -> None:
        self.line.update(event["payload"].get("progress") or {}, event["payload"].get("metrics") or {})

    def _format_epoch(self) -> str:
        return self.line.format_plain(self._console.width)

    def _show_log(self, event: JobEvent) -> None:
        if event["payload"].get("level") in WARNING_LEVELS:
            self._print(str(event["payload"].get("message")), style="yellow")

    def _show_end(self, event: JobEvent) -> None:
        self._print_epoch()
        self.line.set_state(str(event["payload"].get("state", "ended")))
        if self.line.job is not None and self._prints_states:
            self._print(self.line.state)
