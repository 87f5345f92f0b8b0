"""The Celery app, and the worker's composition root: `celery -A worker.main worker -P threads -c <slots+2>`.

Threads, since a supervisor only waits for its trainer's pipe and the database: no fork, and one process to kill.
Two more threads than slots: a message that finds every slot taken, and an import, must not wait for a training.
"""

import logging
import os
import socket
import uuid
from contextlib import ExitStack
from typing import NamedTuple

import structlog
from celery.signals import setup_logging, worker_init, worker_shutdown, worker_shutting_down

from core.bus import RedisBus
from core.db.schema import check_schema
from core.db.session import make_engine, make_sessions
from core.logging import configure_logging
from core.outbox import OutboxRelay
from core.queue import TASKS, CeleryQueue, make_celery
from core.settings import Settings
from core.startup import settings_or_exit
from core.storage import open_storage
from worker import kombu_channel
from worker.control.devices import DeviceAllocator
from worker.control.heartbeat import WorkerHeartbeat
from worker.control.lease import SupervisionTimeouts
from worker.control.slots import Slots
from worker.control.standby import Standby
from worker.control.supervisor import Supervisor
from worker.control.tracing import AttemptTracer
from worker.importing.importer import Importer
from worker.tasks import Tasks

log = structlog.get_logger()
settings = settings_or_exit()
kombu_channel.install()
app = make_celery(settings.redis_url or "redis+socket:///CANDELA_REDIS_URL/is/not/set")  # `compose` refuses that


class Worker(NamedTuple):
    """What lives as long as the process."""

    tasks: Tasks
    supervisor: Supervisor
    resources: ExitStack


_running: list[Worker] = []


def train(job_id: str) -> None:
    _running[0].tasks.train(job_id)


def import_dataset(version_id: str) -> None:
    _running[0].tasks.import_dataset(version_id)


def compose(settings: Settings) -> Worker:
    """Build a worker, with its threads started and its standby trainer on the way.

    Raises:
        ConfigurationError: the database has another schema than this code.
    """
    resources = ExitStack()
    engine = make_engine(settings.sqlalchemy_url)
    resources.callback(engine.dispose)
    check_schema(engine)
    bus = RedisBus(settings.redis_url)
    resources.callback(bus.close)
    sessions = make_sessions(engine, bus.publish)
    storage = open_storage(settings.store, cache=settings.cache_dir, max_cache_bytes=settings.max_cache_bytes)
    storage.sweep_scratch()  # of workers that were killed here; the sweep may run on another machine
    dispatcher = OutboxRelay(sessions, CeleryQueue(settings.redis_url))
    dispatcher.start()
    resources.callback(dispatcher.close)
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    devices = DeviceAllocator(_pinned_standby, settings.slots)
    resources.callback(devices.close)
    pulse = WorkerHeartbeat(sessions, owner, settings.slots, settings.heartbeat_s, devices.find)
    pulse.start()
    resources.callback(pulse.close)
    traces = AttemptTracer.configured()
    resources.callback(traces.close)
    standby = Standby()
    standby.start()
    resources.callback(standby.close)
    cadence = SupervisionTimeouts(settings.lease_s, settings.heartbeat_s, settings.grace_s, settings.stall_s)
    attempts, weights = settings.max_attempts, settings.datasets_dir / "weights"
    supervisor = Supervisor(sessions, storage, standby, owner, cadence, attempts, weights_dir=weights)
    supervisor.devices, supervisor.traces = devices, traces
    importer = Importer(settings, sessions, storage, owner=owner, kick=dispatcher.kick)
    return Worker(
        Tasks(sessions, supervisor, importer, Slots(settings.slots), pulse.record_message), supervisor, resources
    )


def _pinned_standby(number: int) -> Standby:
    """A standby whose trainers see one CUDA device only, the one of that number among those that this process sees."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    device = visible.split(",")[number].strip() if visible else str(number)
    standby = Standby(environment={**os.environ, "CUDA_VISIBLE_DEVICES": device})
    standby.start()
    return standby


def _configure_logging(**_: object) -> None:
    configure_logging(settings.log_level)
    for name in ("celery.worker.strategy", "celery.app.trace"):  # two lines for every hint to look
        logging.getLogger(name).setLevel(logging.WARNING)


def _start(**_: object) -> None:
    try:
        _running.append(compose(settings))
    except Exception as error:  # Celery would log it and go on without us
        log.critical("worker.start_failed", error=str(error))
        raise SystemExit(1) from error


def _finish_stopped(**_: object) -> None:
    for worker in _running:
        worker.supervisor.leave()


def _stop(**_: object) -> None:
    while _running:
        _running.pop().resources.close()
    log.info("worker.stopped")


app.task(train, name=TASKS["train"])
app.task(import_dataset, name=TASKS["import"])
setup_logging.connect(_configure_logging)
worker_init.connect(_start)
worker_shutting_down.connect(_finish_stopped)
worker_shutdown.connect(_stop)
