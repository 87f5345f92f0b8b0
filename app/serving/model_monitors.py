"""The monitors of all models of an HTTP process. Monitors of models that are no longer used expire."""

import threading
import time
from collections.abc import Callable

from app.serving.admission import AdmissionController
from app.serving.model_monitor import ModelMonitor
from app.serving.observer import PredictionObserver
from app.serving.types import BundleRef, CacheKey
from app.serving.version_series import EXPIRY_S, Labels, VersionSeriesPool

AdmissionFactory = Callable[[str], AdmissionController]
"""Creates the admission control of the model with this name."""


class ModelMonitors:
    """Creates a monitor for each model at its first use. This class is thread-safe."""

    def __init__(
        self,
        make_admission: AdmissionFactory,
        series_pool: VersionSeriesPool,
        observer: PredictionObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make_admission = make_admission
        self._series_pool = series_pool
        self._observer = observer
        self._clock = clock
        self._mutex = threading.RLock()
        self._monitors: dict[CacheKey, ModelMonitor] = {}

    def get(self, ref: BundleRef) -> ModelMonitor:
        """Return the monitor of a model. If it has none, create it."""
        monitor = self._monitors.get(ref.cache_key)
        return monitor if monitor is not None else self._create_monitor(ref)

    def find(self, ref: BundleRef) -> ModelMonitor | None:
        """Return the monitor of a model, or None if the model was not used recently."""
        return self._monitors.get(ref.cache_key)

    def list_bundles(self) -> list[BundleRef]:
        """Return the models that have a monitor."""
        with self._mutex:
            return [monitor.ref for monitor in self._monitors.values()]

    def remove(self, ref: BundleRef) -> None:
        """Remove the monitor of a deleted model, unless requests still use it."""
        with self._mutex:
            monitor = self._monitors.get(ref.cache_key)
            if monitor is not None and not monitor.admission.num_in_flight:
                del self._monitors[ref.cache_key]
                self._release_unused_series()

    def expire(self, is_loaded: Callable[[BundleRef], bool]) -> None:
        """Remove the monitors of models that are not in memory and had no request for `EXPIRY_S` seconds.

        Also give the series of versions without requests for this time to versions that have none, first to the
        versions with the most requests.
        """
        with self._mutex:
            idle = [monitor for monitor in self._monitors.values() if self._is_idle(monitor)]
            for monitor in idle:
                if not is_loaded(monitor.ref):
                    del self._monitors[monitor.ref.cache_key]
            self._release_unused_series()
            used = {monitor.labels for monitor in self._monitors.values() if not self._is_idle(monitor)}
            self._series_pool.refresh(used)
            self._remove_ended_series()
            self._reassign_series(used)

    def _create_monitor(self, ref: BundleRef) -> ModelMonitor:
        with self._mutex:
            monitor = self._monitors.get(ref.cache_key)
            if monitor is None:
                series = self._series_pool.assign((ref.model, ref.version))
                admission = self._make_admission(ref.model)
                monitor = ModelMonitor(ref, admission, series, self._observer, self._clock)
                self._monitors[ref.cache_key] = monitor
            return monitor

    def _is_idle(self, monitor: ModelMonitor) -> bool:
        return not monitor.admission.num_in_flight and self._clock() - monitor.used_at >= EXPIRY_S

    def _release_unused_series(self) -> None:
        monitored = {monitor.labels for monitor in self._monitors.values()}
        for labels in self._series_pool.own_labels:
            if labels not in monitored:
                self._series_pool.release(labels)

    def _remove_ended_series(self) -> None:
        own = set(self._series_pool.own_labels)
        for monitor in self._monitors.values():
            if monitor.labels not in own:
                monitor.series = self._series_pool.shared_series

    def _reassign_series(self, used: set[Labels]) -> None:
        """Give series to used versions. If none are free, end the series of the least recently used idle versions."""
        waiting = self._assign_series(used)
        if not waiting:
            return
        idle = sorted(self._monitors.values(), key=lambda monitor: monitor.used_at)
        released = list(dict.fromkeys(monitor.labels for monitor in idle if monitor.labels not in used))[: len(waiting)]
        for labels in released:
            self._series_pool.release(labels)
        self._remove_ended_series()
        self._assign_series(used)

    def _assign_series(self, used: set[Labels]) -> set[Labels]:
        """Give series to used versions that have none, as long as some are free. Return the versions that got none."""
        own = set(self._series_pool.own_labels)
        waiting = [monitor for monitor in self._monitors.values() if monitor.labels in used - own]
        for monitor in sorted(waiting, key=_count_requests, reverse=True):
            monitor.series = self._series_pool.assign(monitor.labels)
        return used - set(self._series_pool.own_labels)


def _count_requests(monitor: ModelMonitor) -> int:
    return monitor.statistics.success.count + monitor.statistics.fail.count
