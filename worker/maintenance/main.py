"""The composition root of maintenance. Run it with `python -m worker.maintenance`."""

import signal
import threading

from core.bus import RedisBus
from core.db.schema import check_schema
from core.db.session import make_engine, make_session_factory
from core.file_permissions import apply_umask
from core.logging import configure_logging
from core.outbox import OutboxRelay
from core.queue import CeleryQueue
from core.settings import Settings
from core.startup import exit_on_configuration_error, load_settings_or_exit
from core.storage import open_storage, require_storage
from worker.maintenance.file_cleanup import FileCleanup
from worker.maintenance.health import LOOP, REAPER, SWEEPS, RoundRecorder
from worker.maintenance.loop import MaintenanceLoop
from worker.maintenance.reaper import LostJobReaper
from worker.maintenance.rounds import STOP_TIMEOUT_S, PeriodicTask
from worker.maintenance.sweeps.controller import SweepController


def main() -> None:
    """Run rounds of maintenance until the process receives SIGTERM or SIGINT."""
    settings = load_settings_or_exit()
    apply_umask(settings.umask)
    configure_logging(settings.log_level)
    stop_event = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop_event.set())
    run(settings, stop_event)


def run(settings: Settings, stop_event: threading.Event) -> None:
    """Run rounds of maintenance until the event is set. A round that lasts longer is continued by a later process."""
    with exit_on_configuration_error():
        engine = make_engine(settings.sqlalchemy_url)
        check_schema(engine)
        bus, queue = RedisBus(settings.redis_url), CeleryQueue(settings.redis_url)
        storage = open_storage(
            settings.effective_storage_url, cache=settings.cache_dir, max_cache_bytes=settings.max_cache_bytes
        )
        require_storage(storage)
    sessions = make_session_factory(engine, bus.publish)
    relay = OutboxRelay(sessions, queue)
    relay.start()
    reaper = LostJobReaper(sessions, settings.max_attempts, relay.wake)
    loop = MaintenanceLoop(settings, sessions, storage, queue, relay.wake)
    cleanup = FileCleanup(settings, sessions, storage)
    sweeps = SweepController(sessions, storage, relay.wake, queues_variants=settings.queues_variants)
    interval_s = settings.maintenance_s
    tasks = [
        PeriodicTask("reaper", reaper.run_once, interval_s, RoundRecorder(sessions, REAPER).record_round),
        PeriodicTask("maintenance", loop.run_once, interval_s, RoundRecorder(sessions, LOOP).record_round),
        PeriodicTask("file-cleanup", cleanup.run_once, interval_s),
        PeriodicTask(
            "sweeps", sweeps.run_once, sweeps.get_interval_s, RoundRecorder(sessions, SWEEPS, interval_s).record_round
        ),
    ]
    for task in tasks:
        task.start()
    stop_event.wait()
    for task in tasks:
        task.request_stop()
    for task in tasks:
        task.join(STOP_TIMEOUT_S)
    sweeps.close()
    relay.close()
    bus.close()
    engine.dispose()
