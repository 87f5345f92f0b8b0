"""Rules for splits, batches, the sampler, and training with several processes."""

from app.services.validation.freezing import is_norm_frozen
from app.services.validation.model_job import ModelJobContext
from app.services.validation.report import ValidationReport
from app.services.validation.training import TrainingContext
from core.datasets import splits
from core.datasets.definition import DatasetInfo

CLASS_TASKS = frozenset({"classification", "binary"})


def check_window_shares(context: TrainingContext | ModelJobContext, report: ValidationReport) -> None:
    """Check that overlapping windows are not split at random: several splits would then contain the same rows."""
    table = context.dataset_info.table
    if table is None or table.window is None:
        return
    for name in ("valid", "test"):
        if getattr(context.job.spec.dataset, name):
            report.add(
                f"/dataset/{name}",
                f"must be omitted: windows of a series are split by time at import, with the option {name}_share",
            )


def check_batches(context: TrainingContext, report: ValidationReport) -> None:
    """Check that the dataset can be split as requested, and that the training split has at least one batch."""
    spec, dataset_info = context.spec, context.dataset_info
    try:
        splits.plan_splits(dataset_info.splits, spec.dataset.valid, spec.dataset.test)
    except ValueError as error:
        report.add("/dataset/valid" if spec.dataset.test is None else "/dataset/test", str(error))
        return
    if context.num_batches == 0:
        report.add(
            "/batch_size",
            f"{context.num_train} training {_get_sample_noun(dataset_info)} do not fill a batch of "
            f"{context.effective_batch_size}; use a smaller batch_size, or set drop_last to false",
        )


def check_batch_norms(context: TrainingContext, report: ValidationReport) -> None:
    """Check that no batch norm trains on a single value per channel, which has no variance."""
    if context.min_forward_size != 1:
        return
    norms = context.architecture.summary.single_value_norms
    trained = [norm for norm in norms if not is_norm_frozen(context, norm)]
    # Averaging after the training computes the statistics of all batch norms again.
    if any(callback.averages_after_training for callback in context.spec.callbacks):
        trained = list(norms)
    if not trained:
        return
    spec = context.spec
    reason = (
        f"gives a forward pass of one sample, but the batch norm {trained[0]!r} requires at least 2 samples in "
        "training; use a larger batch_size"
    )
    if context.num_train == 1:
        noun = _get_sample_noun(context.dataset_info)
        reason = f"the batch norm {trained[0]!r} requires at least 2 training {noun}; the dataset has 1"
    elif spec.resources.devices > 1:
        reason += f", or fewer than {spec.resources.devices} devices"
    elif spec.batch_size > 1 and not spec.drop_last:
        reason += ", or set drop_last to true"
    report.add("/batch_size", reason)


def check_sampler(context: TrainingContext, report: ValidationReport) -> None:
    """Check that a weighted sampler is used only for tasks with classes. Warn if the loss also balances the classes."""
    if context.spec.sampler != "weighted":
        return
    if context.dataset_info.task not in CLASS_TASKS:
        report.add(
            "/sampler", f"'weighted' balances classes; a {context.dataset_info.task} task has none: use 'random'"
        )
    elif getattr(context.spec.loss, "class_weights", None) is not None:
        report.warn(
            "the sampler 'weighted' and the loss's class_weights both balance the classes, so that rare classes are "
            "weighted twice; remove one of them"
        )


def check_processes(context: TrainingContext, report: ValidationReport) -> None:
    """Check the options of training with several processes. Each process needs an equal part of every batch."""
    spec, count = context.spec, context.spec.resources.devices
    if count == 1:
        return
    batch_size, remaining = context.effective_batch_size, context.num_remaining
    if batch_size % count or spec.batch_size % count:
        report.add("/batch_size", f"must be a multiple of {count}, the number of processes; got {spec.batch_size}")
    elif (
        context.num_train is not None
        and not spec.drop_last
        and (batch_size + 1 if remaining == 1 else remaining) % count
    ):
        report.add("/drop_last", f"must be true: {count} processes cannot share the last batch of {remaining} evenly")
    if spec.on_oom != "fail":
        report.add(
            "/on_oom",
            "must be 'fail' with several processes: one process cannot reduce the batches of the other processes",
        )
    for index, callback in enumerate(spec.callbacks):
        if callback.requires_single_process:
            report.add(
                f"/callbacks/{index}",
                f"{callback.name!r} requires one process; set resources.devices to 1, or give a batch_size instead",
            )
    if spec.optimizer.requires_closure:
        report.add("/optimizer/name", f"{spec.optimizer.name!r} requires one process: it compares losses of the batch")
    if spec.device not in {"auto", "cpu", "cuda"}:
        report.add("/device", f"{spec.device!r} is one device, {count} are required; use 'auto', 'cpu' or 'cuda'")


def _get_sample_noun(dataset_info: DatasetInfo) -> str:
    return "images" if dataset_info.table is None else "rows" if dataset_info.table.window is None else "windows"
