"""The rules of what a training begins with; what is wrong goes into a report of `fitting`."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from sqlalchemy.orm import Session

from app.serving.backend import Architecture
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.metrics import MetricRepo
from core.db.tables import CheckpointRow
from core.errors import InvalidSpec
from core.spec import AnyJobSpec, ArchitectureSpec, JobSpec, TrainingSpec
from core.spec.job import PRETRAINED, ResumeFromSpec
from core.spec.transforms import NormalizeSpec

AT = "/resume_from"
MAX_LISTED = 20


class Findings(Protocol):
    warnings: list[str]

    def add(self, pointer: str, reason: str) -> None: ...


class ResumeSource(NamedTuple):
    """The checkpoint that a job is to begin with; `spec` is that of the job which left it."""

    number: int
    step: int
    spec: Mapping[str, Any]

    def whole_epochs(self, steps_per_epoch: int) -> int:
        """Those that were trained until then."""
        return self.step // steps_per_epoch


def find(session: Session, spec: AnyJobSpec) -> ResumeSource | None:
    """The checkpoint that a job asks to begin with; None where it asks for none.

    Raises:
        InvalidSpec: there is no such job, or it has no such checkpoint.
    """
    asked = spec.resume_from if isinstance(spec, TrainingSpec) else None
    if asked is None:
        return None
    job = JobRepo(session).find(asked.job)
    if job is None:
        raise _refused("job", f"there is no job {asked.job!r}")
    if job.kind != "train":
        raise _refused("job", f"the job is of the kind {job.kind!r}, which leaves no checkpoints")
    rows = CheckpointRepo(session).all(asked.job)
    row = next((row for row in reversed(rows) if asked.checkpoint in (row.number, *row.tags)), None)
    if row is None:
        known = ", ".join(map(_listed, rows[-MAX_LISTED:])) or "none yet"
        raise _refused("checkpoint", f"job {job.name!r} has no checkpoint {asked.checkpoint!r}; there is {known}")
    return ResumeSource(row.number, row.step, job.spec)


def copy_metrics(session: Session, spec: AnyJobSpec, job_id: str, steps_per_epoch: int) -> None:
    """Put the curves of the job that this one goes on from before its own, where it asks for them."""
    begun = find(session, spec)
    if isinstance(spec, JobSpec) and begun is not None and spec.resume_from is not None and spec.resume_from.records:
        last_step = begun.whole_epochs(steps_per_epoch) * steps_per_epoch
        MetricRepo(session).copy(spec.resume_from.job, job_id, up_to_step=last_step)


def _listed(row: CheckpointRow) -> str:
    named = [tag for tag in row.tags if tag != "kept"]
    return f"{row.number} ({', '.join(named)})" if named else str(row.number)


def _refused(field: str, reason: str) -> InvalidSpec:
    return InvalidSpec(f"{AT}/{field}: {reason}", errors=[(f"{AT}/{field}", reason)])


def pinned(spec: JobSpec, begun: ResumeSource | None) -> ResumeFromSpec | None:
    """The checkpoint by its number: others may be newer, or better, when the job runs."""
    return spec.resume_from and begun and spec.resume_from.model_copy(update={"checkpoint": begun.number})


def check_checkpoint(
    spec: JobSpec, architecture: ArchitectureSpec, steps_per_epoch: int, begun: ResumeSource | None, report: Findings
) -> None:
    """What is asked of the checkpoint fits; weights that do not are told when the job begins."""
    asked = spec.resume_from
    if asked is None or begun is None:
        return
    if asked.optimizer or asked.callbacks:
        is_same = architecture.model_dump(mode="json") == begun.spec["architecture"]
        for name in ("optimizer", "callbacks"):
            if getattr(asked, name) and not is_same:
                report.add(
                    f"{AT}/{name}", "remembers of another architecture; it needs the same, with the same options"
                )
    if asked.optimizer:
        _check_optimizer(spec, begun, report)
    if asked.callbacks:
        _check_callbacks(spec, begun, report)
    if asked.records:
        _check_records(spec, steps_per_epoch, begun, report)


def _check_optimizer(spec: JobSpec, begun: ResumeSource, report: Findings) -> None:
    ours, theirs = spec.optimizer.model_dump(mode="json"), begun.spec["optimizer"]
    if ours["name"] != theirs["name"]:
        report.add(f"{AT}/optimizer", f"is that of {theirs['name']!r}; this job's is {ours['name']!r}")
    elif _grouping(ours, list(spec.freeze)) != _grouping(theirs, list(begun.spec.get("freeze") or ())):
        fields = "`parts`, their `groups`" if ours["name"] == "several" else "`groups`"
        report.add(f"{AT}/optimizer", f"remembers parameters in other groups; {fields} and `freeze` must be the same")


def _grouping(optimizer: Mapping[str, Any], frozen: list[str]) -> list[Any]:
    groups = [(group["match"], group["weight_decay"] is None) for group in optimizer.get("groups", ())]
    parts = [
        (part["match"], part["optimizer"]["name"], _grouping(part["optimizer"], []))
        for part in optimizer.get("parts", ())
    ]
    return [groups, optimizer.get("decay_norms_and_biases"), parts, frozen]


def _check_callbacks(spec: JobSpec, begun: ResumeSource, report: Findings) -> None:
    left: dict[str, list[Mapping[str, Any]]] = {}
    for one in begun.spec["callbacks"]:
        left.setdefault(one["name"], []).append(one)
    for index, callback in enumerate(spec.callbacks):
        theirs = left[callback.name].pop(0) if left.get(callback.name) else {}
        before, now = theirs.get("monitor"), getattr(callback, "monitor", None)
        if before is not None and before != now:
            report.add(f"/callbacks/{index}/monitor", f"remembers of {before!r}; it cannot go on with {now!r}")


def _check_records(spec: JobSpec, steps_per_epoch: int, begun: ResumeSource, report: Findings) -> None:
    theirs = begun.spec["batch_size"], begun.spec.get("accumulate_batches", 1), begun.spec["dataset"]["name"]
    if theirs != (spec.batch_size, spec.accumulate_batches, spec.dataset.name):
        report.add(f"{AT}/records", "needs the same dataset, batch_size and accumulate_batches: steps are counted on")
        return
    done = begun.whole_epochs(steps_per_epoch)
    if spec.epochs <= done:
        report.add("/epochs", f"must be above the {done} that the checkpoint has made; they count among them")


def check_weights(spec: JobSpec, known: Mapping[str, Architecture], report: Findings) -> None:
    """Weights that an architecture was published with are there, and see pictures as they learnt to."""
    if spec.weights != PRETRAINED or spec.architecture.name not in known:
        return
    lacking = known[spec.architecture.name].pretrained
    if lacking is None:
        having = [name for name, one in known.items() if one.pretrained is not None]
        report.add("/weights", f"{spec.architecture.name!r} has no weights of its own; {' or '.join(having)} has")
    elif lacking:
        report.add("/weights", lacking)
    if any(isinstance(transform, NormalizeSpec) for transform in spec.dataset.train_transforms):
        report.warnings.append(
            "'normalize' takes the place of the normalisation that the pretrained weights learnt with"
        )
