"""Claims jobs, allocates devices to them and runs one attempt of each."""

from core.db.repos.attempts import AttemptRepo
from core.db.repos.datasets import DatasetRepo
from core.db.repos.events import EventRepo
from core.db.repos.job_queue import JobQueueRepo
from core.db.repos.placement import get_num_devices
from core.db.session import transaction
from worker.control.attempt import AttemptRunner, ClaimedJob, WorkerContext
from worker.control.devices import DeviceAllocator
from worker.control.timeouts import sum_active_seconds
from worker.control.tracing import AttemptTracer


class Supervisor:
    """Runs jobs until the worker shuts down. Several threads may call `run` at the same time."""

    def __init__(
        self, context: WorkerContext, devices: DeviceAllocator | None = None, tracer: AttemptTracer | None = None
    ) -> None:
        """Create a supervisor.

        Args:
            context: the connections and settings that all attempts share.
            devices: allocates devices to attempts. Default: the CPU is the only device.
            tracer: exports a span per attempt. Default: no spans are exported.
        """
        self.devices = devices or DeviceAllocator()
        self.is_shutting_down = False
        self._context = context
        self._tracer = tracer or AttemptTracer()

    def request_shutdown(self) -> None:
        """Stop claiming jobs and preempt the running jobs, which write a snapshot and are queued again.

        This method only sets a flag, because a signal handler calls it.
        """
        self.is_shutting_down = True

    def run(self, job_id: str) -> bool:
        """Claim the job and run one attempt. Return False if the job cannot be run now."""
        claimed = None if self.is_shutting_down else self._claim(job_id)
        return claimed is not None and self._run_attempt(claimed)

    def run_next(self) -> bool | None:
        """Claim the next job of the queue and run one attempt. The job must use one slot only.

        Return None if no job was claimed, and False if an immediate retry would also fail.
        """
        claimed = None if self.is_shutting_down or not self._has_next() else self._claim(None)
        return None if claimed is None else self._run_attempt(claimed)

    def _run_attempt(self, claimed: ClaimedJob) -> bool:
        job = claimed.job
        with (
            self._tracer.trace_attempt(job, self._context.sessions),
            self.devices.allocate(job.spec.get("device", "auto"), get_num_devices(job.spec)) as allocation,
        ):
            return AttemptRunner(self._context, claimed, allocation, lambda: self.is_shutting_down).run()

    def _has_next(self) -> bool:
        """Return whether there is a job for `run_next`. If there is none, the search needs no write transaction."""
        with transaction(self._context.sessions, read_only=True) as session:
            return JobQueueRepo(session).has_next(self.devices.capacity)

    def _claim(self, job_id: str | None) -> ClaimedJob | None:
        """Claim a job, or the next one of the queue."""
        owner, lease_s, max_attempts = self._context.owner, self._context.timeouts.lease_s, self._context.max_attempts
        with transaction(self._context.sessions) as session:
            attempts, capacity = AttemptRepo(session), self.devices.capacity
            if job_id is None:
                job = attempts.claim_next(owner, lease_s, capacity)
            else:
                job = attempts.claim(job_id, owner, lease_s, max_attempts, capacity)
            if job is None:
                return None
            version = None if job.dataset_version_id is None else DatasetRepo(session).get(job.dataset_version_id)
            active_s = sum_active_seconds(EventRepo(session).list_transitions(job.id))
            return ClaimedJob(job, version, active_s, self._context.clock())
