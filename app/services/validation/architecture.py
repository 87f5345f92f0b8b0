"""Rules for the network: it must be buildable for the dataset, and pretrained weights must be installed."""

from collections.abc import Mapping

from app.services.validation.report import ValidationReport
from app.services.validation.training import TrainingContext
from app.serving.backend import ArchitectureEntry
from core.spec.job import PRETRAINED


def check_architecture(context: TrainingContext, report: ValidationReport) -> None:
    """Check that the architecture's options give a network that accepts the samples of the dataset."""
    report.extend(context.architecture.errors)


def check_pretrained_weights(context: TrainingContext, report: ValidationReport) -> None:
    """Check that pretrained weights exist and are installed. Warn if a transform replaces their normalization."""
    spec, available = context.spec, context.architecture.available
    if spec.weights != PRETRAINED or spec.architecture.name not in available:
        return
    reason = find_pretrained_error(spec.architecture.name, available)
    if reason is not None:
        report.add("/weights", reason)
    for transform in spec.dataset.train_transforms:
        if transform.replaces_normalization:
            report.warn(f"{transform.name!r} replaces the normalization that the pretrained weights were trained with")


def find_pretrained_error(name: str, available: Mapping[str, ArchitectureEntry]) -> str | None:
    """Return why the pretrained weights of an architecture of the catalog cannot be used; None if they can."""
    missing = available[name].pretrained
    if missing is not None:
        return missing or None
    names = " or ".join(repr(each) for each, entry in available.items() if entry.pretrained is not None)
    return f"{name!r} has no pretrained weights; use {names}"
