"""The rule for frozen parameters, and which parameters and batch norms a training freezes."""

from fnmatch import fnmatchcase

from app.services.validation.report import ValidationReport
from app.services.validation.training import TrainingContext
from core.spec.callbacks import FreezeSpec
from core.spec.feature_cache import find_cache_obstacles
from core.spec.freezing import match_frozen_parameters


def check_trained_parameters(context: TrainingContext, report: ValidationReport) -> None:
    """Warn if `freeze` and the callbacks freeze every parameter, in all epochs or from some epoch on.

    With several processes, it is an error: they exchange gradients, and there are none.
    """
    names = context.parameter_names
    if not names:
        return
    has_one_process = context.spec.resources.devices == 1
    frozen = set(match_frozen_parameters(context.spec.freeze, names))
    if len(frozen) == len(names):
        reason = "'freeze' matches every parameter; exclude some, for example the last layer with '!fc.*'"
        if has_one_process:
            report.warn(f"nothing will be trained, and the weights do not change: {reason}")
        else:
            report.add("/freeze", f"nothing would be trained, which requires one process: {reason}")
        return
    for epoch in sorted({callback.from_epoch for callback in _list_freezes(context)}):
        active = [callback for callback in _list_freezes(context) if _is_active(callback, epoch)]
        if epoch <= context.spec.epochs and all(
            name in frozen or any(fnmatchcase(name, callback.match) for callback in active) for name in names
        ):
            reason = "'freeze' and its callbacks match every parameter; match fewer parameters"
            if has_one_process:
                report.warn(f"nothing will be trained from epoch {epoch} on: {reason}")
            else:
                report.add("/callbacks", f"nothing would be trained from epoch {epoch} on: {reason}")
            return


def check_feature_cache(context: TrainingContext, report: ValidationReport) -> None:
    """Check that the outputs of the frozen layers can be cached, if `cache_features` is true."""
    if context.spec.cache_features is not True:
        return
    obstacles = find_cache_obstacles(context.spec)
    if context.job.dataset is not None and context.dataset_info.table is not None:
        obstacles.append("the samples of the dataset are not images")
    if context.spec.freeze and (obstacle := context.architecture.summary.cache_obstacle):
        obstacles.append(obstacle)
    for obstacle in obstacles:
        report.add("/cache_features", f"cannot be true: {obstacle}")


def is_norm_frozen(context: TrainingContext, norm: str) -> bool:
    """Return whether a batch norm uses its running statistics in every epoch, because its parameters are frozen."""
    spec = context.spec
    parameters = [name for name in context.parameter_names if name.rpartition(".")[0] == norm]
    if spec.freeze_bn_stats and parameters == match_frozen_parameters(spec.freeze, parameters) != []:
        return True
    return any(
        callback.freeze_bn_stats
        and callback.from_epoch == 1
        and (callback.until_epoch is None or callback.until_epoch >= spec.epochs)
        and any(fnmatchcase(name, callback.match) for name in parameters)
        for callback in _list_freezes(context)
    )


def _list_freezes(context: TrainingContext) -> list[FreezeSpec]:
    return [callback for callback in context.spec.callbacks if isinstance(callback, FreezeSpec)]


def _is_active(callback: FreezeSpec, epoch: int) -> bool:
    return callback.from_epoch <= epoch and (callback.until_epoch is None or epoch <= callback.until_epoch)
