"""Finds the training that a job repeats, and checks that it can be repeated."""

from sqlalchemy.orm import Session

from app.services.validation.report import reject
from core.db.repos.jobs import JobRepo
from core.db.repos.originals import OriginalRepo
from core.errors import Conflict, NotFound
from core.jobs import JobState
from core.reproduction import OriginalTraining
from core.spec import AnyJobSpec, ReproduceSpec


class UnknownWeights(Conflict):
    """The job exists, but has no weights with this hash."""


def select_original(session: Session, job_id: str, sha256: str | None = None) -> OriginalTraining:
    """Return a training. A deleted job is known from the model version that it registered.

    Args:
        session: the session.
        job_id: the id of the job.
        sha256: the hash of the weights that it trained. Default: those that it trained last.

    Raises:
        NotFound: neither the job nor a model version with these weights exists.
        Conflict: the job cannot be repeated: it is of another kind, has not succeeded, or was extended; or, as
            UnknownWeights, it has not trained these weights, or they were deleted.
    """
    job, originals = JobRepo(session).find(job_id), OriginalRepo(session)
    if job is None:
        original = None if sha256 is None else originals.read(job_id, sha256)
        if original is None or original.spec is None:
            raise NotFound(f"Job {job_id!r} does not exist.")
        return original
    if job.kind != "train":
        raise Conflict(f"A job of kind {job.kind!r} cannot be reproduced; only a training can.", state=job.state)
    if job.extension is not None:
        raise Conflict("A training that was extended cannot be reproduced: a single training has other steps.")
    if job.state is not JobState.SUCCEEDED:
        raise Conflict(
            f"A job that is {job.state} cannot be reproduced: it has not trained a network.",
            state=job.state,
            allowed=[JobState.SUCCEEDED],
        )
    if sha256 is None:
        sha256 = originals.find_sha256(job)
    elif not originals.is_result(job, sha256):
        raise UnknownWeights(f"Job {job_id!r} has no weights with the sha256 {sha256}.")
    if sha256 is None:
        lost = "the network that it trained" if job.model_version is None else "the model version that it registered"
        raise Conflict(f"The job cannot be reproduced: {lost} was deleted.")
    return originals.read(job_id, sha256)


def check_original(session: Session, spec: AnyJobSpec) -> None:
    """Check that the training exists that a spec names, and that it can be repeated.

    Raises:
        InvalidSpec: it does not exist, or cannot be repeated.
    """
    if not isinstance(spec, ReproduceSpec):
        return
    try:
        select_original(session, spec.original.job, spec.original.sha256)
    except UnknownWeights as error:
        reject("/original/sha256", error.detail)
    except (NotFound, Conflict) as error:
        reject("/original/job", error.detail)
