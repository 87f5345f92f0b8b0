"""The Celery app and composition root of the worker, which `candela worker` runs.

Tasks run in threads, because a supervisor mostly waits for its trainer and for the database.
The worker has one more thread than slots, so that messages are handled while trainings occupy all slots. Imports run in
a separate thread pool.
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
from core.child_environment import build_child_environment
from core.datasets.archives.configured_limits import build_upload_limits
from core.db.schema import check_schema
from core.db.session import make_engine, make_session_factory
from core.file_permissions import apply_umask
from core.logging import configure_logging
from core.outbox import OutboxRelay
from core.queue import TASKS, CeleryQueue, build_celery
from core.settings import Settings
from core.startup import exit_on_configuration_error, load_settings_or_exit
from core.storage import Storage, open_storage, require_storage
from worker import kombu_channel
from worker.control.attempt import WorkerContext
from worker.control.device_probe import has_accelerator
from worker.control.devices import DeviceAllocator
from worker.control.heartbeat import WorkerHeartbeat
from worker.control.lease import SupervisionTimeouts
from worker.control.standby import Standby
from worker.control.supervisor import Supervisor
from worker.control.tracing import AttemptTracer
from worker.control.zygote import TrainerZygote
from worker.importing.importer import Importer
from worker.importing.pool import choose_num_places
from worker.slots import Slots
from worker.tasks import Tasks

log = structlog.get_logger()
settings = load_settings_or_exit()
kombu_channel.install_channel()
# Celery needs a URL at import; `build_worker` then rejects the missing one.
app = build_celery(settings.redis_url or "redis+socket:///CANDELA_REDIS_URL/is/not/set")
EXTRA_THREADS = 1  # for messages while trainings occupy all slots
app.conf.worker_concurrency = settings.slots + EXTRA_THREADS  # `-c` overrides it


class Worker(NamedTuple):
    """The objects that live as long as the worker process. `resources` closes them at shutdown."""

    tasks: Tasks
    supervisor: Supervisor
    resources: ExitStack


_running: list[Worker] = []


def train(job_id: str) -> None:
    """Handle a message of the `train` queues. This is the Celery task."""
    _running[0].tasks.train(job_id)


def import_dataset(version_id: str) -> None:
    """Handle a message of the `import` queue. This is the Celery task."""
    _running[0].tasks.import_dataset(version_id)


def build_worker(settings: Settings) -> Worker:
    """Build the worker, and start its background threads and its source of trainers.

    Raises:
        ConfigurationError: the database, the storage or a setting cannot be used.
    """
    resources = ExitStack()
    engine = make_engine(settings.sqlalchemy_url)
    resources.callback(engine.dispose)
    check_schema(engine)
    bus = RedisBus(settings.redis_url)
    resources.callback(bus.close)
    sessions = make_session_factory(engine, bus.publish)
    storage = _open_worker_storage(settings)
    relay = OutboxRelay(sessions, CeleryQueue(settings.redis_url))
    relay.start()
    resources.callback(relay.close)
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    trainers = _start_trainer_source()
    resources.callback(trainers.close)
    common_standby = trainers if isinstance(trainers, Standby) else None
    devices = DeviceAllocator(_start_pinned_standby, settings.slots, common_standby)
    resources.callback(devices.close)
    heartbeat = WorkerHeartbeat(sessions, owner, settings.slots, settings.heartbeat_s, devices.set_devices)
    heartbeat.start()
    resources.callback(heartbeat.close)
    tracer = AttemptTracer.from_environment()
    resources.callback(tracer.close)
    context = WorkerContext(
        sessions,
        storage,
        trainers,
        owner,
        SupervisionTimeouts(settings.lease_s, settings.heartbeat_s, settings.grace_s, settings.stall_s),
        settings.max_attempts,
        settings.datasets_dir / "weights",
        archive_limits=build_upload_limits(settings),
        max_feature_bytes=settings.max_feature_bytes,
        slots=settings.slots,
        queues_variants=settings.queues_variants,
    )
    supervisor = Supervisor(context, devices, tracer)
    importer = Importer(settings, sessions, storage, owner=owner, wake_relay=relay.wake)
    places = settings.import_slots or choose_num_places()
    tasks = Tasks(sessions, supervisor, importer, Slots(settings.slots), places, heartbeat.record_message)
    resources.callback(tasks.close)
    return Worker(tasks, supervisor, resources)


def _open_worker_storage(settings: Settings) -> Storage:
    storage = open_storage(
        settings.effective_storage_url, cache=settings.cache_dir, max_cache_bytes=settings.max_cache_bytes
    )
    require_storage(storage)
    # Delete the scratch folders of killed workers here: the maintenance loop may run on a different machine.
    storage.delete_abandoned_scratch()
    return storage


def _start_trainer_source() -> Standby | TrainerZygote:
    """Start what starts the trainers. A forked process cannot use a GPU, so a machine with one needs new processes.

    A standby has a single trainer until the devices are known: several GPUs have their own.
    """
    environment = _build_trainer_environment()
    source = Standby(environment=environment) if has_accelerator() else TrainerZygote(environment)
    source.start()
    return source


def _start_pinned_standby(number: int, slots: int) -> Standby:
    """Start a standby whose trainers can use only the CUDA device with the index `number` in this process."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    device = visible.split(",")[number].strip() if visible else str(number)
    standby = Standby(environment={**_build_trainer_environment(), "CUDA_VISIBLE_DEVICES": device}, slots=slots)
    standby.start()
    return standby


def _build_trainer_environment() -> dict[str, str]:
    return build_child_environment(os.environ, settings.child_variables)


def _configure_logging(**_: object) -> None:
    configure_logging(settings.log_level)
    for name in ("celery.worker.strategy", "celery.app.trace"):  # hide their two info lines per message
        logging.getLogger(name).setLevel(logging.WARNING)


def _start_worker(**_: object) -> None:
    apply_umask(settings.umask)
    try:
        with exit_on_configuration_error():
            _running.append(build_worker(settings))
    except Exception as error:  # if not caught here, Celery only logs the error and continues
        log.critical("worker.start_failed", error=repr(error))
        raise SystemExit(1) from error


def _request_shutdown(**_: object) -> None:
    for worker in _running:
        worker.supervisor.request_shutdown()


def _stop_worker(**_: object) -> None:
    while _running:
        _running.pop().resources.close()
    log.info("worker.stopped")


app.task(train, name=TASKS["train"])
app.task(import_dataset, name=TASKS["import"])
setup_logging.connect(_configure_logging)
worker_init.connect(_start_worker)
worker_shutting_down.connect(_request_shutdown)
worker_shutdown.connect(_stop_worker)
