"""Finds orphaned files in the storage.

A file is orphaned if no database row refers to it and no running attempt or import can still add such a row.
"""

from collections.abc import Callable
from functools import partial

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
from core.errors import NotFound
from core.jobs import ACTIVE, OPEN_UPLOAD_STATES, DatasetState
from core.storage import Storage

UPLOAD_PARTS = "upload-parts"  # a folder with the received bytes of each resumable upload
NUMBERED = {"checkpoints", "artifacts"}  # folders of an attempt; each of their subfolders is published separately


def find_orphaned_files(
    sessions: SessionFactory, storage: Storage, min_age_s: float, *, archive_days: float = 0.0
) -> list[str]:
    """Return the keys of published folders and files that are orphaned and older than `min_age_s` seconds.

    Uploaded files of datasets are kept for `archive_days` days after their import.
    """
    checks: dict[str, Callable[[Session, str], bool]] = {
        "jobs": _are_job_files_referenced,
        "datasets": _is_dataset_referenced,
        "uploads": partial(_is_upload_referenced, archive_days=archive_days),
        UPLOAD_PARTS: _are_parts_referenced,
    }
    orphaned: list[str] = []
    for prefix, is_referenced in checks.items():
        files = {get_unit_key(file): file for file in storage.list_keys(prefix)}
        for unit, file in files.items():
            if not _is_old(storage, file, min_age_s):
                continue
            with transaction(sessions, read_only=True) as session:
                if not is_referenced(session, unit):
                    orphaned.append(unit)
    return orphaned


def get_unit_key(file: str) -> str:
    """Return the key of the published folder that contains the file, such as `…/checkpoints/3` or `datasets/x/t1`."""
    parts = file.split("/")
    num_parts = {"jobs": 5 if NUMBERED & set(parts[3:4]) else 4, "datasets": 3, UPLOAD_PARTS: 2}.get(
        parts[0], len(parts)
    )
    return "/".join(parts[:num_parts])


def _is_old(storage: Storage, file: str, min_age_s: float) -> bool:
    try:
        return storage.get_age_s(file) > min_age_s
    except NotFound:  # the file was deleted after it was listed
        return False


def _are_job_files_referenced(session: Session, unit: str) -> bool:
    job_id, token = unit.split("/")[1:3]
    job = JobRepo(session).find(job_id, with_spec=False)
    if job is not None and job.state in ACTIVE and token == f"t{job.token}":
        return True  # the attempt may still add a row for the files
    if job is not None and has_stored_result(job) and unit == get_result_key(job):
        return True
    if ArtifactRepo(session).is_key_referenced(job_id, unit):
        return True
    if JobBundleRepo(session).filter_keys([unit]):
        return True
    repos = CheckpointRepo(session), ModelRepo(session), VariantRepo(session)
    return any(repo.is_key_referenced(unit) for repo in repos)


def _is_dataset_referenced(session: Session, unit: str) -> bool:
    version_id, token = unit.split("/")[1:3]
    version = DatasetRepo(session).find(version_id)
    if version is None:
        return False
    is_importing = version.state is DatasetState.IMPORTING and token == f"t{version.token}"
    return is_importing or version.packed_key == unit


def _is_upload_referenced(session: Session, unit: str, *, archive_days: float) -> bool:
    upload_id = unit.split("/")[1]
    if JobRepo(session).is_upload_needed(upload_id):
        return True
    version = DatasetRepo(session).find(upload_id)
    if version is None or version.state is DatasetState.IMPORTING:
        return version is not None
    return archive_days > 0 and DatasetRepo(session).has_ended_within(upload_id, archive_days)


def _are_parts_referenced(session: Session, unit: str) -> bool:
    upload = UploadRepo(session).find(unit.split("/")[1])
    return upload is not None and upload.state in OPEN_UPLOAD_STATES
