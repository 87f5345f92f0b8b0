"""Records the reports of a running attempt: its runtime, metric points, progress, log lines and warnings."""

from typing import Any

from sqlalchemy.orm import Session

from core.db.repos.attempts import AttemptRepo, EpochMetrics
from core.db.repos.events import EventRepo
from core.db.repos.metric_summaries import MetricSummaryRepo
from core.db.repos.metrics import MetricPoint, MetricRepo
from core.events import EventType
from core.redaction import redact_credentials
from worker.control import job_log
from worker.control.fenced_transactions import FencedTransactions
from worker.control.storable_json import strip_unstorable
from worker.protocol import CurvePoint, Metrics

_MAX_TEXT = 8192
LogEntry = tuple[EventType, dict[str, Any]]


class ProgressRecorder:
    """Writes metrics in batches, and other reports immediately. Writing raises LostLease after the lease is lost."""

    def __init__(self, transactions: FencedTransactions) -> None:
        self._transactions = transactions
        self._points: list[CurvePoint] = []
        self._epochs: list[Metrics] = []
        self._newest: Metrics | None = None
        self._runtime: dict[str, Any] = {}
        self._has_rollups: bool | None = None

    def record_start(self, runtime: dict[str, Any], num_steps: int | None = None) -> None:
        """Store the job's `runtime`, such as the device, the precision and the package versions of the trainer.

        With `num_steps`, also delete the metric points after this step: the attempt computes these steps again.
        The job's log gets lines on the data, the device and the network.
        """
        job_id, token = self._transactions.job_id, self._transactions.token

        def write(session: Session) -> None:
            attempts = AttemptRepo(session)
            job = attempts.check_lease(job_id, token)
            lines = job_log.describe_start(job.spec, runtime, is_first=job.runtime is None)
            attempts.set_runtime(job_id, token, strip_unstorable(runtime))
            EventRepo(session).append(job_id, [build_log_entry("info", line) for line in lines])
            if num_steps is not None:
                MetricRepo(session).truncate(job_id, num_steps)

        self._transactions.run(write)
        self._runtime = runtime

    def record_first_step(self, seconds: float) -> None:
        """Add the time from the claim to the first step to the job's `runtime` and to its log."""
        job_id, token = self._transactions.job_id, self._transactions.token
        self._runtime = {**self._runtime, "first_step_s": round(seconds, 3)}
        runtime = strip_unstorable(self._runtime)

        def write(session: Session) -> None:
            AttemptRepo(session).set_runtime(job_id, token, runtime)
            EventRepo(session).append(job_id, [build_log_entry("info", job_log.describe_first_step(seconds))])

        self._transactions.run(write)

    def buffer_metrics(self, metrics: Metrics) -> None:
        """Buffer metric points, complete epochs and progress until the next `flush`."""
        self._points.extend(metrics.points)
        if metrics.epoch_end:
            self._epochs.append(metrics)
        self._newest = metrics

    @property
    def has_unwritten(self) -> bool:
        """Return whether there are buffered metrics that are not in the database yet."""
        return self._newest is not None

    def flush(self) -> None:
        """Write all buffered metrics in a single transaction.

        This adds one `epoch` event and one log line for each complete epoch, in order, and then a `progress` event if
        an epoch is running. An epoch that an earlier attempt has already recorded gets no second event or line.
        """
        newest, epochs = self._newest, self._epochs
        if newest is None:
            return
        job_id, token = self._transactions.job_id, self._transactions.token
        points = [_to_metric_point(point) for point in self._points]
        last_epoch = epochs[-1] if epochs else None

        def write(session: Session) -> None:
            num_recorded = EventRepo(session).get_last_epoch(job_id) if epochs else 0
            entries: list[LogEntry] = []
            for epoch in epochs:
                if epoch.progress.epoch > num_recorded:
                    line = build_log_entry("info", job_log.describe_epoch(epoch))
                    entries += [(EventType.EPOCH, _build_payload(epoch)), line]
            if newest is not last_epoch:
                entries.append((EventType.PROGRESS, _build_payload(newest)))
            progress, epoch_metrics = newest.progress.model_dump(), _get_epoch_metrics(last_epoch)
            AttemptRepo(session).record_progress(job_id, token, progress, newest.latest, epoch_metrics, entries)
            metrics = MetricRepo(session)
            if self._has_rollups is None:
                self._has_rollups = metrics.has_rollups(job_id)  # only changes while no attempt runs
            metrics.upsert(job_id, points, has_rollups=self._has_rollups)
            if epochs:
                summaries = [(epoch.progress.epoch, epoch.latest) for epoch in epochs]
                MetricSummaryRepo(session).record_epochs(job_id, summaries)

        self._transactions.run(write)
        self._points, self._epochs, self._newest = [], [], None

    def log_message(self, level: str, message: str) -> None:
        """Append a line to the job's log."""
        job_id, token = self._transactions.job_id, self._transactions.token

        def write(session: Session) -> None:
            AttemptRepo(session).check_lease(job_id, token)
            EventRepo(session).append(job_id, [build_log_entry(level, message)])

        self._transactions.run(write)

    def add_warning(self, message: str) -> None:
        """Add a warning to the job's `warnings` and to its log."""
        job_id, token = self._transactions.job_id, self._transactions.token

        def write(session: Session) -> None:
            AttemptRepo(session).add_warning(job_id, token, message)
            EventRepo(session).append(job_id, [build_log_entry("warning", message)])

        self._transactions.run(write)


def _get_epoch_metrics(message: Metrics | None) -> EpochMetrics | None:
    if message is None:
        return None
    return EpochMetrics(message.latest, None if message.best is None else message.best.model_dump())


def build_log_entry(level: str, message: str) -> LogEntry:
    """Build the event of one line of a job's log: without credentials, line breaks and characters past the limit."""
    line = " ".join(part.strip() for part in message.splitlines() if part.strip())
    return EventType.LOG, {"level": level, "message": strip_unstorable(redact_credentials(line)[:_MAX_TEXT])}


def _build_payload(message: Metrics) -> dict[str, Any]:
    progress = message.progress.model_dump(exclude={"steps_per_epoch"})
    return {"step": progress["step"], "epoch": progress["epoch"], "metrics": message.latest, "progress": progress}


def _to_metric_point(point: CurvePoint) -> MetricPoint:
    value, special = (None, point.value) if isinstance(point.value, str) else (point.value, None)
    elapsed_ms = None if point.seconds is None else round(1e3 * point.seconds)
    return MetricPoint(point.split, point.name, point.step, point.epoch, value, special, elapsed_ms)
