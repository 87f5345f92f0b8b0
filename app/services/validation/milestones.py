"""Validation rules for the milestones of a training job."""

from app.services.validation.report import ValidationReport
from app.services.validation.training import TrainingContext

MILESTONES = "/milestones/epochs"


def check_milestones(context: TrainingContext, report: ValidationReport) -> None:
    """Check that every milestone is an epoch of the job."""
    spec = context.spec
    if spec.milestones is None:
        return
    for index, epoch in enumerate(spec.milestones.epochs):
        if epoch > spec.epochs:
            report.add(f"{MILESTONES}/{index}", f"must be at most epochs, {spec.epochs}; got {epoch}")


def check_resumed_milestones(context: TrainingContext, report: ValidationReport) -> None:
    """If metrics are copied, check that every milestone is after the epochs of the checkpoint."""
    spec, source = context.spec, context.job.resume_source
    if spec.milestones is None or spec.resume_from is None or not spec.resume_from.records or source is None:
        return
    num_epochs = source.count_epochs(context.steps_per_epoch)
    for index, epoch in enumerate(spec.milestones.epochs):
        if epoch <= num_epochs:
            reason = f"must be above {num_epochs}: the epochs of the checkpoint count; got {epoch}"
            report.add(f"{MILESTONES}/{index}", reason)
