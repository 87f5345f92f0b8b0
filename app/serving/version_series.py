"""Prometheus series of model versions. A limited number of versions have separate series; the others share series.

The number of series therefore does not grow with the number of models. HTTP processes that share their metrics in files
cannot remove series. They share the choice of versions in a folder with an empty file per version, and hide the series
of all other versions. A lock on the folder keeps the number of files within the limit.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from app.serving import metrics

MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's environment variable: the folder in which the HTTP processes share their metrics."""
EXPIRY_S = 600.0
"""Seconds after the last request until the series of a version may end. Prometheus has read the last values by then."""
Labels = tuple[str, str]
OTHER: Labels = ("(other)", "(other)")
"""The model and the version of the shared series. No model can have this name, and no checkpoint this version."""


class VersionSeries:
    """The series of one model version, or those that versions share."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self.batch_sizes = metrics.BATCH_SIZE.labels(*labels)
        self.batch_seconds = metrics.BATCH_SECONDS.labels(*labels)
        self.queue_seconds = metrics.QUEUE_SECONDS.labels(*labels)
        self.decode_seconds = metrics.DECODE_SECONDS.labels(*labels)
        self.num_in_flight = metrics.NUM_IN_FLIGHT.labels(*labels)
        self.computed = metrics.PREDICTIONS.labels(*labels, "answered")
        self.failed = metrics.PREDICTIONS.labels(*labels, "failed")
        self.dropped = metrics.DROPPED.labels(*labels)

    def count_rejected(self, reason: str, num_samples: int) -> None:
        """Count rejected samples."""
        metrics.REJECTED.labels(*self._labels, reason).inc(num_samples)


class VersionSeriesPool:
    """Gives at most `max_versions` versions separate series. All others get the same shared series."""

    def __init__(self, max_versions: int, folder: Path | None = None) -> None:
        """Initialize with the maximum and, if processes share their metrics in files, with the folder that they share.

        The folder is created.
        """
        self._max_versions = max_versions
        self._folder = folder
        self._own: dict[Labels, VersionSeries] = {}
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @cached_property
    def shared_series(self) -> VersionSeries:
        """The series of the versions without separate series."""
        return VersionSeries(OTHER)

    @property
    def own_labels(self) -> list[Labels]:
        """The labels of the versions that have separate series in this process."""
        return list(self._own)

    def assign(self, labels: Labels) -> VersionSeries:
        """Return the version's separate series. If it has none and none are free, return the shared series."""
        if not self._claim(labels):
            self._own.pop(labels, None)
            return self.shared_series
        if labels not in self._own:
            self._own[labels] = VersionSeries(labels)
        return self._own[labels]

    def release(self, labels: Labels) -> None:
        """End the series of a version. If the version gets series again, they begin at 0, as after a restart.

        If processes share their metrics, the series end `EXPIRY_S` seconds after the last process has released them,
        and later continue with their old values.
        """
        if self._own.pop(labels, None) is None or self._folder is not None:
            return
        for metric in metrics.VERSION_METRICS:
            metric.remove_by_labels(dict(zip(metrics.MODEL_LABELS, labels, strict=True)))

    def refresh(self, used: Collection[Labels]) -> None:
        """Mark these versions as used, for the other processes, and end the series that no process uses.

        The series of a version that other processes ended meanwhile also end here, even if the version is used again:
        it must be assigned series again, because other versions may have got its place.
        """
        if self._folder is None:
            return
        with _lock_folder(self._folder):
            paths = {path.name: path for path in self._folder.iterdir()}
            self._own = {labels: series for labels, series in self._own.items() if _hash_labels(labels) in paths}
            for labels in used:
                if labels in self._own:
                    paths.pop(_hash_labels(labels)).touch()
            for path in paths.values():
                if time.time() - path.stat().st_mtime > EXPIRY_S:
                    path.unlink()

    def _claim(self, labels: Labels) -> bool:
        if self._folder is None:
            return labels in self._own or len(self._own) < self._max_versions
        path = self._folder / _hash_labels(labels)
        with _lock_folder(self._folder):
            if not path.exists() and sum(1 for _ in self._folder.iterdir()) >= self._max_versions:
                return False
            path.touch()
        return True


class SeriesFilter:
    """Decides which series of processes that share their metrics are visible."""

    def __init__(self, folder: Path) -> None:
        self._names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def is_visible(self, labels: Mapping[str, str]) -> bool:
        """Return whether a series belongs to a version with separate series, or to no version."""
        if "version" not in labels:
            return True
        version = labels["model"], labels["version"]
        return version == OTHER or _hash_labels(version) in self._names


def get_shared_folder() -> Path | None:
    """Return the folder with one file per version, or None if this process does not share its metrics."""
    folder = os.environ.get(MULTIPROCESS_DIR)
    return Path(folder) / "versions" if folder else None


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    """Wait until no other process has the lock of a folder, and hold it while the context is open."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _hash_labels(labels: Labels) -> str:
    """Return a file name. Names of jobs, which label the predictions of checkpoints, may have any characters."""
    return hashlib.blake2b("\0".join(labels).encode(), digest_size=16).hexdigest()
