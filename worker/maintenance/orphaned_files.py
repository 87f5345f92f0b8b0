"""Finds orphaned files in the storage.

A file is orphaned if no database row refers to it and no running attempt or import can still add such a row.
"""

from collections.abc import Callable, Collection
from functools import partial
from itertools import groupby, islice

from sqlalchemy.orm import Session

from core.db.repos.artifacts import ArtifactRepo
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.datasets import DatasetRepo
from core.db.repos.job_bundles import JobBundleRepo
from core.db.repos.jobs import JobRepo, get_result_key, has_stored_result
from core.db.repos.models import ModelRepo
from core.db.repos.uploads import UploadRepo
from core.db.repos.variants import VariantRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from core.errors import NotFound
from core.jobs import ACTIVE, DatasetState
from core.storage import Storage

MAX_UNITS = 500
"""Published folders and files that are checked with the same queries."""
UPLOAD_PARTS = "upload-parts"  # a folder with the received bytes of each resumable upload
NUMBERED = {"checkpoints", "artifacts"}  # folders of an attempt; each of their subfolders is published separately
FilterReferenced = Callable[[Session, Collection[str]], set[str]]


def find_orphaned_files(
    sessions: SessionFactory, storage: Storage, min_age_s: float, *, archive_days: float = 0.0
) -> list[str]:
    """Return the keys of published folders and files that are orphaned and older than `min_age_s` seconds.

    Uploaded files of datasets are kept for `archive_days` days after their import.
    """
    filter_by_prefix: dict[str, FilterReferenced] = {
        "jobs": _filter_referenced_job_files,
        "datasets": _filter_referenced_datasets,
        "uploads": partial(_filter_referenced_uploads, archive_days=archive_days),
        UPLOAD_PARTS: _filter_referenced_parts,
    }

    orphaned: list[str] = []
    for prefix, filter_referenced in filter_by_prefix.items():
        groups = groupby(storage.list_keys(prefix), get_unit_key)  # the keys are sorted
        units = ((unit, list(files)[-1]) for unit, files in groups)
        while files := dict(islice(units, MAX_UNITS)):
            # Only few ages are read, because each may be a request. The rows are read again after the age of a file,
            # because the row of an old file was written long ago, if ever.
            unreferenced = _list_unreferenced(sessions, filter_referenced, files)
            old = [unit for unit in unreferenced if _is_old(storage, files[unit], min_age_s)]
            orphaned += _list_unreferenced(sessions, filter_referenced, old)
    return orphaned


def get_unit_key(file: str) -> str:
    """Return the key of the published folder that contains the file, such as `…/checkpoints/3` or `datasets/x/t1`."""
    parts = file.split("/")
    num_parts = {"jobs": 5 if NUMBERED & set(parts[3:4]) else 4, "datasets": 3, UPLOAD_PARTS: 2}.get(
        parts[0], len(parts)
    )
    return "/".join(parts[:num_parts])


def _list_unreferenced(
    sessions: SessionFactory, filter_referenced: FilterReferenced, units: Collection[str]
) -> list[str]:
    if not units:
        return []
    with transaction(sessions, read_only=True) as session:
        referenced = filter_referenced(session, units)
    return [unit for unit in units if unit not in referenced]


def _is_old(storage: Storage, file: str, min_age_s: float) -> bool:
    try:
        return storage.get_age_s(file) > min_age_s
    except NotFound:  # the file was deleted after it was listed
        return False


def _filter_referenced_job_files(session: Session, units: Collection[str]) -> set[str]:
    ids = {unit.split("/")[1] for unit in units}
    jobs = {job.id: job for job in JobRepo(session).list_by_ids(ids, with_spec=False)}
    referenced = {unit for unit in units if _is_used_by_job(jobs.get(unit.split("/")[1]), unit)}
    referenced |= ArtifactRepo(session).filter_keys(ids, units)
    repos = CheckpointRepo(session), ModelRepo(session), VariantRepo(session), JobBundleRepo(session)
    return referenced.union(*(repo.filter_keys(units) for repo in repos))


def _is_used_by_job(job: JobRow | None, unit: str) -> bool:
    """Return whether the running attempt may still add a row for the files, or they are the result of the job."""
    if job is None:
        return False
    is_running = job.state in ACTIVE and unit.split("/")[2] == f"t{job.token}"
    return is_running or (has_stored_result(job) and unit == get_result_key(job))


def _filter_referenced_datasets(session: Session, units: Collection[str]) -> set[str]:
    versions = {row.id: row for row in DatasetRepo(session).list_by_ids({unit.split("/")[1] for unit in units})}

    def is_referenced(unit: str) -> bool:
        version_id, token = unit.split("/")[1:3]
        version = versions.get(version_id)
        if version is None:
            return False
        is_importing = version.state is DatasetState.IMPORTING and token == f"t{version.token}"
        return is_importing or version.packed_key == unit

    return {unit for unit in units if is_referenced(unit)}


def _filter_referenced_uploads(session: Session, units: Collection[str], *, archive_days: float) -> set[str]:
    ids = {unit.split("/")[1] for unit in units}
    referenced = JobRepo(session).list_required_uploads()
    datasets = DatasetRepo(session)
    referenced |= {row.id for row in datasets.list_by_ids(ids) if row.state is DatasetState.IMPORTING}
    if archive_days > 0:
        referenced |= datasets.filter_ended_within(ids, archive_days)
    return {unit for unit in units if unit.split("/")[1] in referenced}


def _filter_referenced_parts(session: Session, units: Collection[str]) -> set[str]:
    still_open = UploadRepo(session).filter_open({unit.split("/")[1] for unit in units})
    return {unit for unit in units if unit.split("/")[1] in still_open}
