"""Checks the name of the model that a job registers."""

from app.services.validation.registration import RegistrationContext
from app.services.validation.report import ValidationReport
from app.services.validation.training import TrainingContext
from core.spec.reserved_names import find_name_error


def check_model_name(context: TrainingContext | RegistrationContext, report: ValidationReport) -> None:
    """Check that the name of the registered model, which by default is that of the job, is not reserved."""
    spec = context.job.spec
    pointer, name = ("/model", spec.model) if spec.model is not None else ("/name", spec.name)
    if name is not None and (reason := find_name_error(name)):
        report.add(pointer, reason)
