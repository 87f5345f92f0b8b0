"""Groups the recorders of one attempt. All of them use the same fenced transactions."""

import time
from collections.abc import Callable

from core.db.session import SessionFactory
from core.db.tables import JobRow
from core.storage import Storage
from worker.control.completion_recorder import CompletionRecorder
from worker.control.fenced_transactions import FencedTransactions
from worker.control.file_recorder import NUM_NEWEST, NUM_NEWEST_OF_TRIAL, FileRecorder
from worker.control.progress_recorder import ProgressRecorder


class Recorder:
    """The recorders of one attempt.

    Attributes:
        transactions: runs the attempt's database queries, including those of the recorders.
        progress: records metrics, log lines and warnings.
        files: records checkpoints and artifacts.
        completion: records the outcome of the attempt.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        storage: Storage,
        job: JobRow,
        is_lease_lost: Callable[[], bool],
        sleep: Callable[[float], None] = time.sleep,
        *,
        queues_variants: bool = False,
    ) -> None:
        self.transactions = FencedTransactions(sessions, job.id, job.token, is_lease_lost, sleep)
        self.progress = ProgressRecorder(self.transactions)
        num_newest = NUM_NEWEST if job.sweep_id is None else NUM_NEWEST_OF_TRIAL
        self.files = FileRecorder(self.transactions, storage, self.progress, num_newest)
        self.completion = CompletionRecorder(
            self.transactions, storage, self.files, job, queues_variants=queues_variants
        )
