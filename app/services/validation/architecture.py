"""Rules for the network: it must be buildable for the dataset, and pretrained weights must be installed."""

from app.services.validation.report import ValidationReport
from app.services.validation.training import TrainingContext
from core.spec.job import PRETRAINED


def check_architecture(context: TrainingContext, report: ValidationReport) -> None:
    """Check that the architecture's options give a network that accepts the samples of the dataset."""
    report.extend(context.architecture.errors)


def check_pretrained_weights(context: TrainingContext, report: ValidationReport) -> None:
    """Check that pretrained weights exist and are installed. Warn if a transform replaces their normalization."""
    spec = context.spec
    if spec.weights != PRETRAINED:
        return
    available = context.architecture.available
    if spec.architecture.name not in available:
        return
    missing = available[spec.architecture.name].pretrained
    if missing is None:
        names = " or ".join(repr(name) for name, entry in available.items() if entry.pretrained is not None)
        report.add("/weights", f"{spec.architecture.name!r} has no pretrained weights; use {names}")
    elif missing:
        report.add("/weights", missing)
    for transform in spec.dataset.train_transforms:
        if transform.replaces_normalization:
            report.warn(f"{transform.name!r} replaces the normalization that the pretrained weights were trained with")
