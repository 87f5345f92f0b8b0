"""Reads the results of jobs: metrics, logs, checkpoints, artifacts and result files."""

import mimetypes
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from core.db.metric_rollup import USAGE_SPLIT
from core.db.repos.artifacts import ArtifactRepo
from core.db.repos.checkpoints import WEIGHTS, CheckpointRepo
from core.db.repos.events import EventRepo
from core.db.repos.job_bundles import JobBundleRepo
from core.db.repos.jobs import JobRepo, get_result_key
from core.db.repos.metrics import MetricRepo, MetricSeries
from core.db.session import release_connection
from core.db.tables import CheckpointRow, JobRow
from core.errors import NotFound
from core.events import Event, EventType
from core.storage import Storage

OCTET_STREAM = "application/octet-stream"
DATA_TYPES = {".csv": "text/csv", ".json": "application/json", ".jsonl": "application/x-ndjson"}
"""The media types of downloads by the suffix of the file. A browser shows none of them as a page."""


class ResultFile(NamedTuple):
    """A local file whose checksum was verified, and the file name and media type that downloads use."""

    path: Path
    sha256: str
    name: str
    media_type: str = OCTET_STREAM


class ArtifactFile(NamedTuple):
    """A file that a job wrote, with its media type."""

    name: str
    media_type: str
    size_bytes: int
    sha256: str
    created_at: datetime


class ResultService:
    """Reads the results of jobs."""

    def __init__(self, session: Session, storage: Storage) -> None:
        self._session = session
        self._storage = storage

    def list_metrics(
        self, job_id: str, *, name: str | None, split: str | None, since_step: int | None, max_points: int | None
    ) -> list[MetricSeries]:
        """Return the metric series of a job, each reduced to at most `max_points` points."""
        self._require_job(job_id)
        names = None if name is None else [name]
        return MetricRepo(self._session).list_series(
            job_id, names=names, split=split, since_step=since_step, max_points=max_points
        )

    def list_usage(self, job_id: str, *, max_points: int) -> list[MetricSeries]:
        """Return what the trainer of a job used, as series of at most `max_points` samples."""
        self._require_job(job_id)
        return MetricRepo(self._session).list_series(job_id, split=USAGE_SPLIT, max_points=max_points)

    def list_logs(self, job_id: str, *, after: int, limit: int, last: int | None) -> list[Event]:
        """Return the log events of a job with a number above `after`: the first `limit`, or the `last` of them."""
        self._require_job(job_id)
        events = EventRepo(self._session)
        if last is not None:
            return events.list_last(job_id, after, min(limit, last), types=(EventType.LOG,))
        return events.list_after(job_id, after, limit=limit, types=(EventType.LOG,))

    def list_checkpoints(self, job_id: str) -> list[CheckpointRow]:
        """Return the checkpoints of a job."""
        self._require_job(job_id)
        return CheckpointRepo(self._session).list_checkpoints(job_id)

    def fetch_weights(self, job_id: str, number: int) -> ResultFile:
        """Return the weights of a checkpoint as a safetensors file.

        Raises:
            NotFound: the job or checkpoint does not exist.
            CorruptFile: the checksum of the stored file does not match.
        """
        row = CheckpointRepo(self._session).get(job_id, number)
        folder = self._fetch(row.key, WEIGHTS, row.sha256)
        return ResultFile(folder / WEIGHTS, row.sha256, f"{job_id}-{number}.safetensors")

    def list_artifacts(self, job_id: str) -> list[ArtifactFile]:
        """Return the artifacts of a job and the files of its result or unregistered network, sorted by name."""
        job = JobRepo(self._session).get(job_id)
        rows = ArtifactRepo(self._session).list_artifacts(job_id)
        artifacts = [ArtifactFile(row.name, row.media_type, row.size_bytes, row.sha256, row.created_at) for row in rows]
        files = _get_result_files(job) | self._get_bundle_files(job_id)
        for name, file in files.items():
            media_type = DATA_TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or OCTET_STREAM
            artifacts.append(ArtifactFile(name, media_type, created_at=job.finished_at or job.created_at, **file))
        return sorted(artifacts)

    def fetch_artifact(self, job_id: str, name: str) -> ResultFile:
        """Return an artifact of a job, or a file of its result or of its unregistered network.

        Raises:
            NotFound: the job or file does not exist.
            CorruptFile: the checksum of the stored file does not match.
        """
        if name in _get_result_files(JobRepo(self._session).get(job_id)):
            return self.fetch_result_file(job_id, name)
        if name in self._get_bundle_files(job_id):
            return self._fetch_bundle_file(job_id, name)
        row = ArtifactRepo(self._session).get(job_id, name)
        path = self._fetch(row.key, name, row.sha256) / name
        media_type = row.media_type if row.media_type in DATA_TYPES.values() else OCTET_STREAM
        return ResultFile(path, row.sha256, name, media_type)

    def fetch_result_file(self, job_id: str, name: str) -> ResultFile:
        """Return a file of a job's result.

        Raises:
            NotFound: the job or file does not exist.
            CorruptFile: the checksum of the stored file does not match.
        """
        job = JobRepo(self._session).get(job_id)
        files = _get_result_files(job)
        if name not in files:
            raise NotFound(f"The result has no file {name!r}.", known=sorted(files))
        sha256 = files[name]["sha256"]
        folder = self._fetch(get_result_key(job), name, sha256)
        return ResultFile(folder / name, sha256, f"{job.name}-{name}", DATA_TYPES.get(Path(name).suffix, OCTET_STREAM))

    def _get_bundle_files(self, job_id: str) -> dict[str, dict[str, Any]]:
        """Return the size and checksum of each file of the network that the job has not registered."""
        bundle = JobBundleRepo(self._session).find(job_id)
        return {} if bundle is None else bundle.files

    def _fetch_bundle_file(self, job_id: str, name: str) -> ResultFile:
        bundle = JobBundleRepo(self._session).find(job_id)
        assert bundle is not None  # noqa: S101 - the caller has found the file
        sha256 = bundle.files[name]["sha256"]
        path = self._fetch(bundle.key, name, sha256) / name
        return ResultFile(path, sha256, name, DATA_TYPES.get(path.suffix, OCTET_STREAM))

    def _fetch(self, key: str, name: str, sha256: str) -> Path:
        release_connection(self._session)
        return self._storage.fetch(key, {name: sha256})

    def _require_job(self, job_id: str) -> None:
        JobRepo(self._session).get(job_id, with_spec=False)


def _get_result_files(job: JobRow) -> dict[str, dict[str, Any]]:
    """Return the size and checksum of each file of a job's result."""
    files: dict[str, dict[str, Any]] = (job.result or {}).get("files", {})
    return files
