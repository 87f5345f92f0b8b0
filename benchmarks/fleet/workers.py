"""A process with many simulated workers: they claim, renew, record and finish jobs with the code of real workers.

    python -m benchmarks.fleet.workers --workers 50 --job-s 20 --epoch-s 5 --bundle FOLDER

Each worker has its own connections to the database, its own heartbeat and one slot. One consumer of the queue wakes an
idle worker for each message, as the broker would.
"""

import argparse
import logging
import os
import queue
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import cast

import structlog
from kombu import Queue
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.fleet.simulated_trainer import SimulatedTrainers, Training
from core.bus import RedisBus
from core.db.repos.workers import WorkerRepo
from core.db.session import make_engine, make_session_factory, transaction
from core.queue import CANARY, build_celery
from core.settings import Settings
from core.storage import open_storage
from worker.control.attempt import WorkerContext
from worker.control.heartbeat import list_package_versions
from worker.control.lease import SupervisionTimeouts
from worker.control.supervisor import Supervisor
from worker.control.trainer_process import TrainerSource
from worker.importing.importer import Importer
from worker.slots import Slots
from worker.tasks import Tasks


class NoImports:
    """Imports nothing: no message of the queue `import` is consumed."""

    def run(self, version_id: str) -> bool:
        """Do nothing."""
        del version_id
        return False


class SimulatedWorker(threading.Thread):
    """One worker with one slot. It handles a message at a time, and then the jobs that it finds in the queue."""

    def __init__(self, settings: Settings, number: int, trainers: SimulatedTrainers, bus: RedisBus) -> None:
        super().__init__(daemon=True)
        self.inbox: queue.Queue[str] = queue.Queue()
        self.is_idle = True
        self._sessions = make_session_factory(make_engine(settings.sqlalchemy_url), bus.publish)
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{number}"
        self._heartbeat_s = settings.heartbeat_s
        storage = open_storage(settings.effective_storage_url)
        timeouts = SupervisionTimeouts(settings.lease_s, settings.heartbeat_s, settings.grace_s, settings.stall_s)
        source = cast("TrainerSource", trainers)
        supervisor = Supervisor(WorkerContext(self._sessions, storage, source, self._owner, timeouts))
        importer = cast("Importer", NoImports())
        self._tasks = Tasks(self._sessions, supervisor, importer, Slots(1))
        threading.Thread(target=self._send_heartbeats, daemon=True).start()

    def run(self) -> None:
        """Handle messages until the process ends."""
        while True:
            job_id = self.inbox.get()
            try:
                self._tasks.train(job_id)
            except SQLAlchemyError:
                structlog.get_logger().exception("simulated_worker.failed")
            self.is_idle = True

    def _send_heartbeats(self) -> None:
        with transaction(self._sessions) as session:
            WorkerRepo(session).register(
                self._owner, socket.gethostname(), 1, [{"name": "cpu"}], list_package_versions()
            )
        while True:
            time.sleep(self._heartbeat_s)
            with transaction(self._sessions) as session:
                WorkerRepo(session).record_heartbeat(self._owner, 0.0)


def consume(settings: Settings, workers: list[SimulatedWorker]) -> None:
    """Wake an idle worker for every message. Without an idle worker, nothing happens: the next free one searches."""

    def handle(body: object, message: object) -> None:
        message.ack()  # type: ignore[attr-defined]
        job_id = body[0][0] if isinstance(body, list) else CANARY
        worker = next((worker for worker in workers if worker.is_idle), None)
        if worker is not None and job_id != CANARY:
            worker.is_idle = False
            worker.inbox.put(job_id)

    with (
        build_celery(settings.redis_url).connection_for_read() as connection,
        connection.Consumer([Queue("train")], callbacks=[handle], accept=["json"]),
    ):
        while True:
            with suppress(TimeoutError):
                connection.drain_events(timeout=5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--job-s", type=float, required=True)
    parser.add_argument("--epoch-s", type=float, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    settings = Settings()
    trainers = SimulatedTrainers(Training(options.job_s, options.epoch_s), options.bundle)
    bus = RedisBus(settings.redis_url)
    workers = [SimulatedWorker(settings, number, trainers, bus) for number in range(options.workers)]
    for worker in workers:
        worker.start()
    consume(settings, workers)


if __name__ == "__main__":
    main()
