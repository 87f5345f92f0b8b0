"""Rules for the optimizer and its schedule, and for patterns that match parameters."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from app.services.validation.report import ValidationReport
from app.services.validation.training import TrainingContext
from core.spec import JobSpec
from core.spec.optimizer_base import GroupedSpec
from core.spec.optimizers import OptimizerPartSpec, OptimizerSpec

OPTIMIZER = "/optimizer"
MAX_LISTED_NAMES = 30
_NUMBERS_OF_STEPS = (1_000_003, 1_000_000_007)  # of which no option is a fraction


def check_closure(context: TrainingContext, report: ValidationReport) -> None:
    """Check that an optimizer that needs a closure is not combined with loss scaling or gradient clipping."""
    spec = context.spec
    if not spec.optimizer.requires_closure:
        return
    name = spec.optimizer.name
    if spec.precision == "fp16":
        report.add("/precision", f"{name!r} cannot use the loss scaling of 'fp16'; use 'fp32'")
    for index, callback in enumerate(spec.callbacks):
        if callback.clips_gradients:
            report.add(
                f"/callbacks/{index}", f"{name!r} compares gradients with losses; the gradients must not be clipped"
            )


def check_optimizer_patterns(context: TrainingContext, report: ValidationReport) -> None:
    """Check that the pattern of each group or part matches a parameter, and that each parameter has an optimizer."""
    optimizer, names = context.spec.optimizer, context.parameter_names
    parts: Sequence[OptimizerPartSpec] = getattr(optimizer, "parts", ())
    if not parts:
        _check_groups(optimizer, names, OPTIMIZER, report)
    elif names:
        _check_parts(parts, names, report)


def check_freeze(context: TrainingContext, report: ValidationReport) -> None:
    """Check that every pattern in `freeze` and in callbacks matches at least one parameter."""
    names = context.parameter_names
    for index, callback in enumerate(context.spec.callbacks):
        pattern = getattr(callback, "match", None)
        if pattern is not None:
            _check_pattern(f"/callbacks/{index}/match", pattern, names, report)
    for index, pattern in enumerate(context.spec.freeze):
        _check_pattern(f"/freeze/{index}", pattern.removeprefix("!"), names, report)


def check_schedule(context: TrainingContext, report: ValidationReport) -> None:
    """Check that the schedule fits the number of steps. If it cycles the momentum, an optimizer must have momentum."""
    if context.job.dataset is not None:
        report.extend(find_schedule_errors(context.spec, context.spec.epochs * context.steps_per_epoch))
        return
    errors, others = (list(find_schedule_errors(context.spec, num_steps)) for num_steps in _NUMBERS_OF_STEPS)
    report.extend(error for error in errors if error in others)  # the errors that any number of steps has


def find_schedule_errors(spec: JobSpec, num_steps: int) -> Iterator[tuple[str, str]]:
    """Yield the errors of a schedule that is planned for `num_steps` optimizer steps."""
    schedule = spec.schedule
    if schedule is None:
        return
    yield from ((f"/schedule{pointer}", reason) for pointer, reason in schedule.find_errors(num_steps))
    if getattr(schedule, "cycle_momentum", False):
        parts: Sequence[OptimizerPartSpec] = getattr(spec.optimizer, "parts", ())
        optimizers: list[OptimizerSpec] = [part.optimizer for part in parts] or [spec.optimizer]
        if not any(optimizer.has_momentum for optimizer in optimizers):
            names = sorted({optimizer.name for optimizer in optimizers})
            verb = "has" if len(names) == 1 else "have"
            reason = f"{' and '.join(map(repr, names))} {verb} no momentum to cycle; set cycle_momentum to false"
            yield "/schedule/cycle_momentum", reason


def _check_parts(parts: Sequence[OptimizerPartSpec], names: Sequence[str], report: ValidationReport) -> None:
    remaining = list(names)
    for index, part in enumerate(parts):
        pointer = f"{OPTIMIZER}/parts/{index}"
        matching = [name for name in remaining if fnmatchcase(name, part.match)]
        remaining = [name for name in remaining if not fnmatchcase(name, part.match)]
        if matching:
            _check_groups(part.optimizer, matching, f"{pointer}/optimizer", report)
        elif _check_pattern(f"{pointer}/match", part.match, names, report):
            reason = f"earlier parts match all parameters of {part.match!r}; put narrower patterns first"
            report.add(f"{pointer}/match", reason)
    if remaining:
        report.add(f"{OPTIMIZER}/parts", f"no part matches {_format_names(remaining)}; let the last part match '*'")


def _check_groups(optimizer: OptimizerSpec, names: Sequence[str], pointer: str, report: ValidationReport) -> None:
    if isinstance(optimizer, GroupedSpec):
        for index, group in enumerate(optimizer.groups):
            _check_pattern(f"{pointer}/groups/{index}/match", group.match, names, report)


def _check_pattern(pointer: str, pattern: str, names: Sequence[str], report: ValidationReport) -> bool:
    """Report an error and return False if no name matches. Without names (the network is invalid), return True."""
    if not names or any(fnmatchcase(name, pattern) for name in names):
        return True
    report.add(pointer, f"no parameter matches {pattern!r}; the parameters are {_format_names(names)}")
    return False


def _format_names(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_LISTED_NAMES]) + (" and others" if len(names) > MAX_LISTED_NAMES else "")
