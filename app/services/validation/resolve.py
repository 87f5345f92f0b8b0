"""Whether a job of any kind means something; what it shares with a training is checked in `specs.py`."""

import secrets
from typing import Any, NamedTuple, assert_never

from app.services.validation import rules as fitting
from app.services.validation import training as specs
from app.services.validation.resume_from import ResumeSource
from app.services.validation.rules import ValidationReport
from app.services.validation.training import PinnedDataset, ResolvedSpec
from app.serving.backend import Architectures
from core.datasets import splits
from core.datasets.definition import DatasetFacts
from core.db.tables import ModelVersionRow
from core.errors import InvalidSpec
from core.spec import (
    AnyJobSpec,
    DatasetSpec,
    EvaluateSpec,
    JobSpec,
    LrFindSpec,
    ModelJobSpec,
    PredictArchiveSpec,
    PredictSpec,
    VariantSpec,
)
from core.spec.base import Spec
from core.spec.job import ResourcesSpec, TrainingSpec
from core.spec.job_kinds import KINDS


class RegisteredModel(NamedTuple):
    """What a job must know of the model that it names; `seed` and `valid` are those of its training on `dataset`."""

    ref: str
    task: str
    classes: tuple[str, ...]
    num_outputs: int
    image_shape: tuple[int, ...]
    columns: list[dict[str, Any]]
    num_parameters: int
    dataset: str
    seed: int
    valid: float | None
    test: float | None

    @classmethod
    def of(cls, row: ModelVersionRow) -> "RegisteredModel":
        bundle, spec = row.bundle, row.spec
        return cls(
            f"{row.name}@{row.version}",
            bundle["task"],
            tuple(bundle["classes"]),
            bundle["num_outputs"],
            tuple(bundle["image_shape"]),
            (bundle.get("table") or {}).get("columns", []),
            row.num_parameters,
            spec["dataset"]["name"],
            spec["seed"],
            spec["dataset"]["valid"],
            spec["dataset"].get("test"),
        )


def referenced_model(spec: AnyJobSpec) -> tuple[str, str] | None:
    """The pointer to, and the reference of, the registered model that the job needs; None if it needs none."""
    if isinstance(spec, ModelJobSpec):
        return "/model", spec.model
    return None if spec.init_from is None else ("/init_from", spec.init_from)


def fields(kind: str) -> frozenset[str]:
    """The fields of a job of that kind; of no kind that there is, none."""
    every: tuple[type[Spec], ...] = (JobSpec, LrFindSpec, EvaluateSpec, PredictSpec, VariantSpec, PredictArchiveSpec)
    kinds = dict(zip(KINDS, every, strict=True))
    return frozenset(kinds[kind].model_fields if kind in kinds else ())


def registry_name(spec: AnyJobSpec) -> str:
    """The model that a resolved job makes, or is about."""
    return (spec.model or spec.name or "").partition("@")[0]


def resolve(
    spec: AnyJobSpec,
    dataset: PinnedDataset,
    devices: frozenset[str],
    model: RegisteredModel | None,
    architectures: Architectures,
    begun: ResumeSource | None = None,
) -> ResolvedSpec:
    """Fill in every default and check all parts; `model` is the one that `named_model` says, if any.

    `begun` is the checkpoint that the job is to begin with, if any.

    Raises:
        InvalidSpec: with a JSON pointer and a reason for everything that does not fit.
        Unavailable: nobody can say just now what can be built.
    """
    match spec:
        case JobSpec():
            return _pinned(specs.resolve(spec, dataset, devices, architectures, begun), model)
        case LrFindSpec():
            return _pinned(_resolve_sweep(spec, dataset, devices, architectures, begun), model)
        case EvaluateSpec() | PredictSpec() | VariantSpec():
            assert model is not None  # noqa: S101 - the spec cannot do without
            return _resolve_examination(spec, dataset, devices, model)
        case PredictArchiveSpec():
            assert model is not None  # noqa: S101 - as above
            return _resolve_archive(spec, dataset, devices, model)
        case _:
            assert_never(spec)


def provisional_spec(spec: AnyJobSpec, version: int) -> AnyJobSpec:
    """The spec of a job whose dataset is still being imported: named, and pinned to that version."""
    name = spec.name or _generated_name(spec)
    dataset = spec.dataset.model_copy(update={"version": version})
    return spec.model_copy(update={"name": name, "model": spec.model or name, "dataset": dataset})


def _generated_name(spec: AnyJobSpec) -> str:
    if isinstance(spec, TrainingSpec):
        return specs.generated_name(spec)
    return f"{spec.kind}-{spec.model.partition('@')[0][:40]}-{secrets.token_hex(2)}"


def _pinned(resolved: ResolvedSpec, model: RegisteredModel | None) -> ResolvedSpec:
    """An alias may be moved while the job waits."""
    if model is None:
        return resolved
    return resolved._replace(spec=resolved.spec.model_copy(update={"init_from": model.ref}))


def _resolve_sweep(
    spec: LrFindSpec,
    dataset: PinnedDataset,
    devices: frozenset[str],
    architectures: Architectures,
    begun: ResumeSource | None,
) -> ResolvedSpec:
    if spec.end_lr <= spec.start_lr:
        errors = [("/end_lr", f"must be above start_lr, {spec.start_lr:g}")]
        raise InvalidSpec(f"{errors[0][0]}: {errors[0][1]}", errors=errors)
    shared = [name for name in TrainingSpec.model_fields if name != "kind"]
    given = {name: getattr(spec, name) for name in shared} | {"resources": ResourcesSpec()}  # one process sweeps
    resolved = specs.resolve(JobSpec(**given), dataset, devices, architectures, begun)
    return resolved._replace(spec=spec.model_copy(update={name: getattr(resolved.spec, name) for name in shared}))


def _resolve_examination(
    spec: EvaluateSpec | PredictSpec | VariantSpec,
    dataset: PinnedDataset,
    devices: frozenset[str],
    model: RegisteredModel,
) -> ResolvedSpec:
    report, facts = ValidationReport(), dataset.facts
    is_its_own = model.dataset == spec.dataset.name
    valid = model.valid if spec.dataset.valid is None and is_its_own else spec.dataset.valid
    if valid is None and not facts.splits.get("valid"):
        valid = splits.DEFAULT_SHARE
    test = model.test if spec.dataset.test is None and is_its_own else spec.dataset.test
    num_samples = _check_split(spec, facts, valid, test, report)
    fitting.check_split(spec, facts, report)
    if spec.dataset.train_transforms:
        report.add("/dataset/train_transforms", "nothing is trained; pictures are shown as they are")
    if facts.image_shape != model.image_shape:
        report.add("/dataset", f"has samples of {facts.image_shape}; the model takes {model.image_shape}")
    elif _columns(facts) != model.columns:
        report.add("/dataset", "has other columns, or other categories, than the model was trained on")
    fitting.check_device(spec, devices, report)
    changes = {
        "name": spec.name or _generated_name(spec),
        "model": model.ref,
        "seed": spec.seed if spec.seed is not None else model.seed if is_its_own else 0,
        "dataset": DatasetSpec(
            name=spec.dataset.name,
            version=dataset.version,
            valid=valid,
            test=test,
            stratify=spec.dataset.stratify,
            **dataset.options,
        ),
    }
    if isinstance(spec, EvaluateSpec):
        _check_truth(facts, model, report)
        changes["metrics"] = fitting.TASK_DEFAULTS[facts.task].metrics if spec.metrics is None else spec.metrics
        fitting.check_metrics(spec, facts, report)
    elif isinstance(spec, VariantSpec):
        _check_truth(facts, model, report)
        if len(model.image_shape) != 3:
            report.add("/model", "reads rows or windows; other forms are made of networks that read pictures")
    else:
        changes["top_k"] = max(1, min(spec.top_k, len(model.classes)))
    if report.errors:
        raise InvalidSpec(f"{report.errors[0][0]}: {report.errors[0][1]}", errors=report.errors)
    num_batches = -(-num_samples // spec.batch_size)
    return ResolvedSpec(spec.model_copy(update=changes), model.num_parameters, (model.num_outputs,), num_batches)


def _resolve_archive(
    spec: PredictArchiveSpec, dataset: PinnedDataset, devices: frozenset[str], model: RegisteredModel
) -> ResolvedSpec:
    report = ValidationReport()
    if len(model.image_shape) != 3:
        report.add("/model", "reads rows or windows, not pictures")
    fitting.check_device(spec, devices, report)
    if report.errors:
        raise InvalidSpec(f"{report.errors[0][0]}: {report.errors[0][1]}", errors=report.errors)
    changes = {
        "name": spec.name or _generated_name(spec),
        "model": model.ref,
        "seed": spec.seed or 0,
        "dataset": spec.dataset.model_copy(update={"version": dataset.version}),
        "top_k": max(1, min(spec.top_k, len(model.classes))),
    }
    return ResolvedSpec(spec.model_copy(update=changes), model.num_parameters, (model.num_outputs,), 1)


def training_dataset(row: ModelVersionRow) -> DatasetSpec:
    """The dataset that a version was trained on, as a job may name it."""
    return DatasetSpec.model_validate(
        {key: value for key, value in row.spec["dataset"].items() if key != "train_transforms"}
    )


def _columns(facts: DatasetFacts) -> list[dict[str, Any]]:
    return [] if facts.table is None else [column.model_dump(mode="json") for column in facts.table.columns]


def _check_split(
    spec: ModelJobSpec, facts: DatasetFacts, valid: float | None, test: float | None, report: ValidationReport
) -> int:
    """The number of samples of the split that is asked for."""
    try:
        plan = splits.plan(facts.splits, valid, test)
    except ValueError as error:
        report.add("/dataset/valid" if test is None else "/dataset/test", str(error))
        return 1
    counts = {"train": plan.num_train, "valid": plan.num_valid, "test": plan.num_test}
    if not counts[spec.split]:
        known = " or ".join(repr(name) for name, count in counts.items() if count)
        report.add("/split", f"the dataset has no {spec.split!r}; use {known}")
    return counts[spec.split]


def _check_truth(facts: DatasetFacts, model: RegisteredModel, report: ValidationReport) -> None:
    if facts.task != model.task:
        report.add("/dataset", f"is of the task {facts.task}; the model's is {model.task}")
    elif facts.classes != model.classes or facts.num_outputs != model.num_outputs:
        report.add("/dataset", "has other classes, or in another order, than the model knows")
