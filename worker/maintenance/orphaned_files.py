"""Files in the store that no row refers to and no attempt is about to claim."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from core.db.repos.artifacts import ArtifactRepo
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.datasets import DatasetRepo
from core.db.repos.jobs import JobRepo, has_stored_result, result_key
from core.db.repos.models import ModelRepo
from core.db.repos.variants import VariantRepo
from core.db.session import SessionFactory, transaction
from core.errors import NotFound
from core.jobs import ACTIVE, DatasetState
from core.storage import Storage

NUMBERED = {"checkpoints", "artifacts"}  # folders of an attempt that hold several units


def orphans(sessions: SessionFactory, storage: Storage, min_age_s: float) -> list[str]:
    """Keys under which there are only files that were published longer ago and that nobody wants."""
    wanted: dict[str, Callable[[Session, str], bool]] = {
        "jobs": _wants_job_files,
        "datasets": _wants_dataset,
        "uploads": _wants_upload,
    }
    found: list[str] = []
    for prefix, is_wanted in wanted.items():
        files = {unit_of(file): file for file in storage.keys(prefix)}
        for unit, file in files.items():
            if not _is_old(storage, file, min_age_s):
                continue
            with transaction(sessions, read_only=True) as session:
                if not is_wanted(session, unit):
                    found.append(unit)
    return found


def unit_of(file: str) -> str:
    """The key under which a file was published with others: `…/checkpoints/3`, `…/bundle`, `datasets/x/t1`."""
    parts = file.split("/")
    size = {"jobs": 5 if NUMBERED & set(parts[3:4]) else 4, "datasets": 3}.get(parts[0], len(parts))
    return "/".join(parts[:size])


def _is_old(storage: Storage, file: str, min_age_s: float) -> bool:
    try:
        return storage.age_s(file) > min_age_s
    except NotFound:  # deleted meanwhile
        return False


def _wants_job_files(session: Session, unit: str) -> bool:
    job_id, token = unit.split("/")[1:3]
    job = JobRepo(session).find(job_id, with_spec=False)
    if job is not None and job.state in ACTIVE and token == f"t{job.token}":
        return True  # its row may be about to come
    if job is not None and has_stored_result(job) and unit == result_key(job):
        return True
    if ArtifactRepo(session).refers_to(job_id, unit):
        return True
    repos = CheckpointRepo(session), ModelRepo(session), VariantRepo(session)
    return any(repo.refers_to(unit) for repo in repos)


def _wants_dataset(session: Session, unit: str) -> bool:
    version_id, token = unit.split("/")[1:3]
    version = DatasetRepo(session).find(version_id)
    if version is None:
        return False
    is_held = version.state is DatasetState.IMPORTING and token == f"t{version.token}"
    return is_held or version.packed_key == unit


def _wants_upload(session: Session, unit: str) -> bool:
    upload_id = unit.split("/")[1]
    if JobRepo(session).needs_upload(upload_id):
        return True
    version = DatasetRepo(session).find(upload_id)
    return version is not None and version.state is DatasetState.IMPORTING
