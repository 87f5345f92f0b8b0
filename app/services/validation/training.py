"""Whether a job means something: its parts against each other and against the dataset; no database, no HTTP."""

import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from app.services.validation import resume_from, transforms
from app.services.validation import rules as fitting
from app.services.validation.rules import ValidationReport
from app.serving.backend import Architectures, ArchitectureSummary, InvalidArchitecture
from core.datasets import splits
from core.datasets.definition import DatasetFacts
from core.errors import InvalidSpec
from core.spec import AnyJobSpec, ArchitectureSpec, DatasetSpec, JobSpec, TrainingSpec
from core.spec.base import Spec
from core.spec.error_pointers import pointer_of, to_pointers, unknown


class PinnedDataset(NamedTuple):
    """A dataset as the job will find it: `options` are those of a built-in one, every default filled in."""

    version: int
    options: Mapping[str, Any]
    facts: DatasetFacts


class ResolvedSpec(NamedTuple):
    """A spec with nothing left open, and what is known of the run before it starts."""

    spec: AnyJobSpec
    num_parameters: int
    output_shape: tuple[int, ...]
    steps_per_epoch: int
    warnings: tuple[str, ...] = ()


def resolve(
    spec: JobSpec,
    dataset: PinnedDataset,
    devices: frozenset[str],
    architectures: Architectures,
    begun: resume_from.ResumeSource | None = None,
) -> ResolvedSpec:
    """Fill in every default and check all parts; `devices` are those of the workers that live.

    `begun` is the checkpoint that the job is to begin with, if any.

    Raises:
        InvalidSpec: with a JSON pointer and a reason for everything that does not fit.
        Unavailable: nobody can say just now what can be built.
    """
    report = ValidationReport()
    facts = dataset.facts
    fitting.check_split(spec, facts, report)
    spec = _with_defaults(spec, dataset)
    steps_per_epoch = fitting.check_sizes(spec, facts, report)
    fitting.check_loss(spec, facts, report)
    fitting.check_metrics(spec, facts, report)
    fitting.check_monitors(spec, report)
    fitting.check_tables(spec, facts, report)
    fitting.check_step(spec, facts, report)
    fitting.check_sampler(spec, facts, report)
    transforms.check_transforms(spec, facts, report)
    fitting.check_schedule(spec, steps_per_epoch, report)
    fitting.check_device(spec, devices, report)
    architecture, summary = _check_architecture(spec.architecture, facts, report, architectures)
    resume_from.check_weights(spec, architectures.known(), report)
    resume_from.check_checkpoint(spec, architecture, steps_per_epoch, begun, report)
    fitting.check_optimizer(spec, summary.parameter_names, report)
    fitting.check_freeze(spec, summary.parameter_names, report)
    if report.errors:
        raise InvalidSpec(f"{report.errors[0][0]}: {report.errors[0][1]}", errors=report.errors)
    spec = spec.model_copy(update={"architecture": architecture, "resume_from": resume_from.pinned(spec, begun)})
    return ResolvedSpec(spec, summary.num_parameters, summary.output_shape, steps_per_epoch, tuple(report.warnings))


def options_of(schema: type[Spec], given: Mapping[str, Any], at: str) -> dict[str, Any]:
    """Options of a built-in dataset with every default filled in.

    Raises:
        InvalidSpec: an option is missing, unknown or of the wrong form; pointers lie below `at`.
    """
    try:
        return schema.model_validate(dict(given)).model_dump(mode="json")
    except ValidationError as error:
        known = schema.model_json_schema()
        known["properties"] = known.get("properties", {}) | {name: {} for name in DatasetSpec.model_fields}
        pairs = to_pointers(error.errors(include_input=False), known, at)
        raise InvalidSpec(f"{pairs[0][0]}: {pairs[0][1]}", errors=pairs) from None


def generated_name(spec: TrainingSpec) -> str:
    """`convnet-digits-3f2a`"""
    return f"{spec.architecture.name[:28]}-{spec.dataset.name[:28]}-{secrets.token_hex(2)}"


def _with_defaults(spec: JobSpec, dataset: PinnedDataset) -> JobSpec:
    name = spec.name or generated_name(spec)
    held_out = spec.dataset.valid is None and not dataset.facts.splits.get("valid")
    pinned = DatasetSpec(
        name=spec.dataset.name,
        version=dataset.version,
        valid=splits.DEFAULT_SHARE if held_out else spec.dataset.valid,
        test=spec.dataset.test,
        stratify=spec.dataset.stratify,
        train_transforms=spec.dataset.train_transforms,
        **dataset.options,
    )
    usual = fitting.TASK_DEFAULTS[dataset.facts.task]
    return spec.model_copy(
        update={
            "name": name,
            "model": spec.model or name,
            "dataset": pinned,
            "loss": spec.loss or usual.loss,
            "metrics": usual.metrics if spec.metrics is None else spec.metrics,
        }
    )


def _check_architecture(
    wanted: ArchitectureSpec, facts: DatasetFacts, report: ValidationReport, architectures: Architectures
) -> tuple[ArchitectureSpec, ArchitectureSummary]:
    at, nothing, known = "/architecture", ArchitectureSummary({}, 0, (), ()), architectures.known()
    if wanted.name not in known:
        report.add(f"{at}/name", unknown("architecture", wanted.name, list(known)))
        return wanted, nothing
    try:
        cardinalities = () if facts.table is None else facts.table.cardinalities
        shape = tuple(facts.image_shape)
        summary = architectures.check(wanted.name, wanted.options, shape, facts.num_outputs, cardinalities)
    except InvalidArchitecture as error:
        report.errors += to_pointers(error.errors, known[wanted.name].options, at)
        if error.reason:
            report.add(at + pointer_of(error.path.split("/") if error.path else ()), error.reason)
        return wanted, nothing
    return ArchitectureSpec(name=wanted.name, **summary.options), summary
