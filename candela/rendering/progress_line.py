"""One line with the progress of a job: bar, epoch, remaining time, then the metrics that fit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from candela.rendering.formats import (
    SHORT_ID,
    fit_parts,
    format_bar,
    format_eta,
    format_metric,
    format_state,
    shorten_middle,
    sort_metrics,
)
from candela.types import FINISHED, Number

MIN_BAR_WIDTH = 8
MAX_BAR_WIDTH = 24
MIN_WIDTH_WITH_BAR = 40
MIN_WIDTH_WITH_NAME = 30
EPOCH_STATES = frozenset({"running", "waiting"})  # in these states, the epoch says more than the state


@dataclass
class ProgressLine:
    """The progress of a job. Rendered, it is one line, which is never wider than the console.

    Attributes:
        job: the name and the id of the job, for a list of several jobs; None for a single job.
        name_width: the width of the longest name in the list, to which the others are filled up.
    """

    job: tuple[str, str] | None = None
    name_width: int = 0
    state: str = "waiting"
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    eta_s: float | None = None
    metrics: dict[str, Number] = field(default_factory=dict)

    def update(self, progress: Mapping[str, Any], metrics: Mapping[str, Number]) -> None:
        """Take over the progress and the metrics of an event."""
        self.epoch, self.epochs = int(progress.get("epoch") or 0), int(progress.get("epochs") or 0)
        self.step, self.steps = int(progress.get("step") or 0), int(progress.get("steps") or 0)
        self.eta_s = progress.get("eta_seconds")
        self.metrics |= metrics  # between two epochs, the last validation metrics stay

    def set_state(self, state: str) -> None:
        self.state = state
        if state in FINISHED:
            self.eta_s = None

    def render(self, width: int) -> Text:
        """Return the line. Parts that do not fit are left out."""
        line = Text(self.format_label(width))
        if width >= MIN_WIDTH_WITH_BAR and self.steps:
            bar_width = min(MAX_BAR_WIDTH, max(MIN_BAR_WIDTH, (width - len(line)) // 5))
            line.append(format_bar(self.step, self.steps, bar_width)).append("  ")
        line.append(fit_parts(self._list_parts(), max(0, width - line.cell_len)))
        line.rstrip()
        if self.state in FINISHED:
            line.highlight_regex(rf"\b{self.state}\b", format_state(self.state).style)
        return line

    def format_plain(self, width: int) -> str:
        """Return the line without the bar, for a file or a pipe."""
        label = self.format_label(width)
        return f"{label}{fit_parts(self._list_parts(), width - len(label))}"

    def format_label(self, width: int) -> str:
        """Return the start of a line in a list of several jobs: the name, shortened in the middle, and the id."""
        if self.job is None:
            return ""
        name, job_id = self.job
        if width < MIN_WIDTH_WITH_NAME:
            return f"{job_id[:SHORT_ID]}  "
        limit = width // 6
        return f"{shorten_middle(name, limit).ljust(min(self.name_width, limit))} {job_id[:SHORT_ID]}  "

    def _list_parts(self) -> list[str]:
        epoch = f"epoch {self.epoch}/{self.epochs}" if self.epochs else ""
        state = "" if epoch and self.state in EPOCH_STATES else self.state
        metrics = [format_metric(name, self.metrics[name]) for name in sort_metrics(self.metrics)]
        return [part for part in (state, epoch, format_eta(self.eta_s), *metrics) if part]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.render(options.max_width)
