"""Validates jobs that register a network with existing weights."""

from dataclasses import dataclass

from app.services.validation.architecture import find_pretrained_error
from app.services.validation.architecture_check import ArchitectureCheck, get_registered_shape
from app.services.validation.context import ResolvedSpec, ValidationContext
from app.services.validation.defaults import generate_name
from app.services.validation.report import ValidationReport
from app.serving.backend import ArchitectureEntry
from core.spec import RegisterSpec
from core.spec.job import PRETRAINED


@dataclass(frozen=True)
class RegistrationContext:
    """The data for the rules of a registration. `spec` is the spec of the request."""

    job: ValidationContext
    spec: RegisterSpec

    @classmethod
    def prepare(cls, job: ValidationContext) -> "RegistrationContext":
        """Create the context of a registration."""
        assert isinstance(job.spec, RegisterSpec)  # noqa: S101 - guaranteed by the table in `rules`
        return cls(job, job.spec)

    @property
    def architecture(self) -> ArchitectureCheck:
        """The checked architecture."""
        assert self.job.architecture is not None  # noqa: S101 - checked for all registrations
        return self.job.architecture

    @property
    def entry(self) -> ArchitectureEntry | None:
        """The architecture of the catalog; None if it does not exist."""
        return self.architecture.available.get(self.spec.architecture.name)

    def resolve(self, warnings: tuple[str, ...]) -> ResolvedSpec:
        """Return the resolved spec."""
        spec, summary = self.spec, self.architecture.summary
        name = spec.name or generate_name(spec)
        shape, _ = get_registered_shape(spec, self.entry)
        changes = {
            "name": name,
            "model": spec.model or name,
            "architecture": self.architecture.spec,
            "image_shape": shape,
        }
        return ResolvedSpec(spec.model_copy(update=changes), summary.num_parameters, summary.output_shape, 1, warnings)


def check_architecture(context: RegistrationContext, report: ValidationReport) -> None:
    """Check that the architecture's options give a network for the images and the classes."""
    report.extend(context.architecture.errors)


def check_weights(context: RegistrationContext, report: ValidationReport) -> None:
    """Check that published weights exist, are installed, and have one output per class."""
    spec, entry = context.spec, context.entry
    if entry is None or spec.weights != PRETRAINED:
        return
    reason = find_pretrained_error(spec.architecture.name, context.architecture.available)
    if reason is not None:
        report.add("/weights", reason)
    elif spec.classes is not None and len(spec.classes) != entry.num_classes:
        report.add(
            "/classes",
            f"must have {entry.num_classes} names, one per output of the published weights; got {len(spec.classes)}",
        )


def check_recipe(context: RegistrationContext, report: ValidationReport) -> None:
    """Check that the preprocessing and the classes are complete, and that the moments have one value per channel."""
    spec, entry = context.spec, context.entry
    if entry is None:
        return
    shape, _ = get_registered_shape(spec, entry)
    if not entry.num_classes:
        for field in ("image_shape", "classes", "mean", "std"):
            if getattr(spec, field) is None:
                report.add(f"/{field}", f"is required: {entry.name!r} has no published weights with a default")
    for field in ("mean", "std"):
        values = getattr(spec, field)
        if values is not None and shape and len(values) != shape[0]:
            report.add(f"/{field}", f"must have {shape[0]} values, one per channel; got {len(values)}")
