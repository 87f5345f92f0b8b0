"""Renders a list of jobs as a table that fits the width of the terminal."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.table import Column, Table
from rich.text import Text

from candela.jobs import Job
from candela.rendering import terminal
from candela.rendering.formats import (
    SHORT_ID,
    SPLITS,
    format_bar,
    format_duration,
    format_epochs,
    format_eta,
    format_number,
    format_state,
    format_time,
    shorten_middle,
    sort_metrics,
)

BAR_WIDTH = 8
MIN_NAME_WIDTH = 8
GAP = 2  # between columns
WIDE = 110  # from this width, times have a year
ABSENT = "-"


class TableColumn(NamedTuple):
    """A column: its heading, which may have two lines, and the text of each job."""

    heading: str
    cells: list[str | Text]
    is_number: bool = False

    @property
    def width(self) -> int:
        texts = [*self.heading.split("\n"), *(str(cell) for cell in self.cells)]
        return max(cell_len(text) for text in texts)


def print_jobs(jobs: Sequence[Job], *, first_metric: str | None = None) -> None:
    """Print a table of jobs. Columns and metrics that do not fit are left out; names are shortened in the middle."""
    if not jobs:
        terminal.console.print(Text("no jobs", style="dim"))
        return
    width = terminal.console.width if terminal.is_limited(terminal.console) else None
    columns = choose_columns(jobs, width, first_metric)
    table = Table(
        *(
            Column(c.heading, no_wrap=True, justify="right" if c.is_number else "left", vertical="bottom")
            for c in columns
        ),
        box=None,
        pad_edge=False,
        padding=(0, GAP, 0, 0),
        header_style="bold",
    )
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*cells)
    terminal.print_renderable(table)


def choose_columns(jobs: Sequence[Job], width: int | None, first_metric: str | None = None) -> list[TableColumn]:
    """Return the columns that fit into the width, from left to right; None: all columns, without short forms."""
    name = _build_name(jobs, width)
    found = {
        "id": TableColumn("ID", _list_ids(jobs, is_short=width is not None)),
        "state": TableColumn("STATE", [format_state(job.state) for job in jobs]),
        "name": name,
        "epoch": TableColumn("EPOCH", [format_epochs(job.response["progress"]) or ABSENT for job in jobs]),
        "time": TableColumn("TIME", [_format_job_time(job) for job in jobs]),
        "bar": TableColumn("PROGRESS", [_format_job_bar(job) for job in jobs]),
    }
    metrics = [_build_metric(jobs, metric, width) for metric in _rank_metrics(jobs, first_metric)]
    pattern = "%m-%d %H:%M %Z" if width is not None and width < WIDE else "%Y-%m-%d %H:%M:%S %Z"
    created = TableColumn("CREATED", [format_time(job.response["created_at"], pattern) for job in jobs])
    order = ["id", "state", "name", "epoch", "time"]
    if width is not None and any(job.state == "running" for job in jobs):
        order.append("bar")
    by_priority = [*(found[key] for key in order), *metrics[:1], created, *metrics[1:]]
    chosen = _choose_fitting(by_priority, width)
    if width is not None and name in chosen:
        rest = width - _measure(chosen)
        chosen[chosen.index(name)] = found["name"] = _build_name(jobs, name.width + rest, is_exact=True)
    displayed = [
        found["id"],
        found["name"],
        found["state"],
        found["bar"],
        found["epoch"],
        found["time"],
        *metrics,
        created,
    ]
    return [column for column in displayed if any(column is other for other in chosen)]


def _choose_fitting(columns: Sequence[TableColumn], width: int | None) -> list[TableColumn]:
    chosen: list[TableColumn] = []
    for column in columns:
        if width is None or not chosen or _measure([*chosen, column]) <= width:
            chosen.append(column)
    return chosen


def _measure(columns: Sequence[TableColumn]) -> int:
    return sum(column.width + GAP for column in columns) - GAP


def _list_ids(jobs: Sequence[Job], *, is_short: bool) -> list[str | Text]:
    """Return the ids, shortened to the same length if they stay different."""
    length = SHORT_ID if is_short else 32
    while len({job.id[:length] for job in jobs}) < len({job.id for job in jobs}):
        length += 1
    return [job.id[:length] for job in jobs]


def _build_name(jobs: Sequence[Job], width: int | None, *, is_exact: bool = False) -> TableColumn:
    limit = terminal.UNLIMITED_WIDTH if width is None else width if is_exact else max(MIN_NAME_WIDTH, width // 6)
    return TableColumn("NAME", [shorten_middle(job.name, limit) for job in jobs])


def _format_job_time(job: Job) -> str:
    """Return the remaining time of a job that trains, and the duration of a job that ended."""
    duration_s = job.response.get("duration_s")
    if job.is_finished:
        return ABSENT if duration_s is None else format_duration(duration_s)
    eta_s = job.response["progress"].get("eta_seconds") if job.state == "running" else None
    return format_eta(eta_s) or ABSENT


def _format_job_bar(job: Job) -> str | Text:
    progress = job.response["progress"]
    if job.is_finished or not progress.get("steps"):
        return ""
    return format_bar(progress.get("step", 0), progress["steps"], BAR_WIDTH)


def _rank_metrics(jobs: Sequence[Job], first: str | None) -> list[str]:
    """Return the metrics of the jobs: that of the order of the list, then the important ones that many jobs have."""
    counts = Counter(name for job in jobs for name in job.latest_metrics)
    enough = max(counts.values(), default=0) / 2
    return sorted(sort_metrics(counts), key=lambda name: (name != first, counts[name] < enough))


def _build_metric(jobs: Sequence[Job], name: str, width: int | None) -> TableColumn:
    split, _, rest = name.partition("_")
    heading = f"{split}\n{rest}" if width is not None and split in SPLITS and rest else name
    values = (job.latest_metrics.get(name) for job in jobs)
    return TableColumn(heading, [ABSENT if v is None else format_number(float(v)) for v in values], is_number=True)
