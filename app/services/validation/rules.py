"""The validation rules of each job kind. To add a rule, add its function to a tuple of rules in this module."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from app.services.validation import (
    architecture,
    batches,
    callbacks,
    capacity,
    freezing,
    milestones,
    model_job,
    model_name,
    objective,
    optimizer,
    registration,
    resume_from,
    transforms,
)
from app.services.validation.context import ResolvedSpec, ValidationContext
from app.services.validation.model_job import ArchiveContext, ModelJobContext
from app.services.validation.registration import RegistrationContext
from app.services.validation.report import ValidationReport
from app.services.validation.training import LrFindContext, TrainingContext
from core.spec import ModelJobSpec


class Resolvable(Protocol):
    """The data that the rules of a job kind check. The context also builds the resolved spec."""

    def resolve(self, warnings: tuple[str, ...]) -> ResolvedSpec:
        """Return the resolved spec."""


Context = TypeVar("Context", bound=Resolvable)
Rule = Callable[[Context, ValidationReport], None]


@dataclass(frozen=True)
class RuleSet(Generic[Context]):
    """The validation rules of one job kind.

    Attributes:
        prepare: function that converts a ValidationContext to the context that the rules check.
        rules: functions that check the context and add errors and warnings to a report. They are called in order.
    """

    prepare: Callable[[ValidationContext], Context]
    rules: tuple[Rule[Context], ...]

    def resolve(self, job: ValidationContext) -> ResolvedSpec:
        """Apply all rules and return the resolved spec.

        Raises:
            InvalidSpec: a rule added an error, or a reference of the spec does not exist.
        """
        context, report = self._apply_rules(job, self.rules)
        return context.resolve(tuple(report.warnings))

    def check_spec(self, job: ValidationContext) -> None:
        """Apply the rules that do not depend on the dataset, which the context need not have.

        Raises:
            InvalidSpec: a rule added an error, or a reference of the spec does not exist.
        """
        self._apply_rules(job, tuple(rule for rule in self.rules if rule in SPEC_RULES))

    def _apply_rules(
        self, job: ValidationContext, rules: tuple[Rule[Context], ...]
    ) -> tuple[Context, ValidationReport]:
        report = ValidationReport()
        report.extend(job.errors)
        if job.model is None and isinstance(job.spec, ModelJobSpec):  # all rules of these jobs need the model
            report.raise_if_invalid()
        context = self.prepare(job)
        for rule in rules:
            rule(context, report)
        report.raise_if_invalid()
        return context, report


def check_lr_range(context: LrFindContext, report: ValidationReport) -> None:
    """Check that `end_lr` is above `start_lr`."""
    spec = context.lr_find
    if spec.end_lr <= spec.start_lr:
        report.add("/end_lr", f"must be above start_lr, {spec.start_lr:g}; got {spec.end_lr:g}")


TRAINING_RULES: tuple[Rule[TrainingContext], ...] = (
    batches.check_window_shares,
    batches.check_batches,
    batches.check_batch_norms,
    batches.check_processes,
    objective.check_loss,
    objective.check_metrics,
    objective.check_metric_keys,
    objective.check_metric_splits,
    objective.check_monitors,
    callbacks.check_callback_classes,
    callbacks.check_validation_callbacks,
    callbacks.check_callback_samples,
    callbacks.check_exclusive_callbacks,
    callbacks.check_best_epoch,
    callbacks.check_mixed_training_metrics,
    milestones.check_milestones,
    batches.check_sampler,
    transforms.check_transforms,
    optimizer.check_schedule,
    capacity.check_device,
    architecture.check_architecture,
    architecture.check_pretrained_weights,
    architecture.check_resizing,
    resume_from.check_resumed_architecture,
    resume_from.check_resumed_optimizer,
    resume_from.check_resumed_callbacks,
    resume_from.check_resumed_records,
    milestones.check_resumed_milestones,
    optimizer.check_closure,
    optimizer.check_optimizer_patterns,
    optimizer.check_freeze,
    freezing.check_trained_parameters,
    freezing.check_feature_cache,
    capacity.check_capacity,
)
MODEL_JOB_RULES: tuple[Rule[ModelJobContext], ...] = (
    model_job.check_split,
    batches.check_window_shares,
    model_job.check_no_transforms,
    model_job.check_samples,
    model_job.check_views,
    capacity.check_device,
)
SPEC_RULES: frozenset[Rule[Any]] = frozenset(
    {
        check_lr_range,
        model_name.check_model_name,
        batches.check_processes,
        objective.check_metric_keys,
        objective.check_monitors,
        callbacks.check_exclusive_callbacks,
        callbacks.check_best_epoch,
        callbacks.check_validation_callbacks,
        milestones.check_milestones,
        optimizer.check_schedule,
        optimizer.check_closure,
        capacity.check_device,
        capacity.check_capacity,
        architecture.check_architecture,
        architecture.check_pretrained_weights,
        resume_from.check_resumed_architecture,
        resume_from.check_resumed_optimizer,
        resume_from.check_resumed_callbacks,
        freezing.check_feature_cache,
        model_job.check_no_transforms,
        model_job.check_views,
        model_job.check_image_model,
    }
)
"""The rules that do not depend on the dataset. They are also applied before the import of the dataset has ended."""
RULES: Mapping[str, RuleSet[Any]] = {
    "train": RuleSet(TrainingContext.prepare, (model_name.check_model_name, *TRAINING_RULES)),
    "reproduce": RuleSet(TrainingContext.prepare, TRAINING_RULES),
    "lr_find": RuleSet(LrFindContext.prepare, (check_lr_range, *TRAINING_RULES)),
    "evaluate": RuleSet(
        ModelJobContext.prepare,
        (*MODEL_JOB_RULES, model_job.check_targets, objective.check_metrics, objective.check_metric_keys),
    ),
    "predict": RuleSet(ModelJobContext.prepare, MODEL_JOB_RULES),
    "variant": RuleSet(
        ModelJobContext.prepare, (*MODEL_JOB_RULES, model_job.check_targets, model_job.check_image_model)
    ),
    "predict_archive": RuleSet(ArchiveContext.prepare, (model_job.check_image_model, capacity.check_device)),
    "register": RuleSet(
        RegistrationContext.prepare,
        (
            model_name.check_model_name,
            registration.check_architecture,
            registration.check_weights,
            registration.check_recipe,
        ),
    ),
}
"""The rules of each job kind."""
