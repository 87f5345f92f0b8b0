"""Rules for callbacks. The rules read properties of the callback specs and do not depend on callback names."""

from app.services.validation.report import ValidationReport
from app.services.validation.training import TrainingContext


def check_exclusive_callbacks(context: TrainingContext, report: ValidationReport) -> None:
    """Check that a job has at most one callback per exclusive group, for example one callback that averages weights."""
    groups = set[str]()
    for index, callback in enumerate(context.spec.callbacks):
        group = callback.exclusive_group
        if group in groups:
            report.add(f"/callbacks/{index}", f"only one callback may {group}; remove {callback.name!r}")
        if group is not None:
            groups.add(group)


def check_callback_samples(context: TrainingContext, report: ValidationReport) -> None:
    """Check that callbacks that mix images are used only with a dataset of images."""
    for index, callback in enumerate(context.spec.callbacks):
        if callback.mixes_images and context.dataset_info.table is not None:
            report.add(f"/callbacks/{index}", f"{callback.name!r} mixes images, but the dataset is a table")


def check_callback_classes(context: TrainingContext, report: ValidationReport) -> None:
    """Check that callbacks that write one table row per class are used with a suitable task and number of classes."""
    dataset_info = context.dataset_info
    for index, callback in enumerate(context.spec.callbacks):
        if callback.max_classes is None:
            continue
        if dataset_info.task == "regression":
            reason = f"{callback.name!r} requires classes, but the targets of the dataset are numbers"
            report.add(f"/callbacks/{index}/name", reason)
        elif len(dataset_info.classes) > callback.max_classes:
            reason = (
                f"{callback.name!r} takes at most {callback.max_classes} classes; "
                f"the dataset has {len(dataset_info.classes)}"
            )
            report.add(f"/callbacks/{index}/name", reason)


def check_validation_callbacks(context: TrainingContext, report: ValidationReport) -> None:
    """Check that callbacks that write results of the last validation are used only if there are validation samples."""
    for index, callback in enumerate(context.spec.callbacks):
        if callback.requires_validation and context.spec.dataset.valid == 0:
            report.add(
                f"/callbacks/{index}/name",
                f"{callback.name!r} requires validation samples, but the job has none; remove it, or set "
                "/dataset/valid to a number above 0",
            )


def check_best_epoch(context: TrainingContext, report: ValidationReport) -> None:
    """Check that callbacks that select the best epoch are not combined with weight averaging after training."""
    callbacks = context.spec.callbacks
    selecting = [callback.name for callback in callbacks if callback.selects_best_epoch]
    averaging = [callback.name for callback in callbacks if callback.averages_after_training]
    if selecting and averaging:
        report.add(
            "/callbacks",
            f"{selecting[0]!r} cannot be combined with {averaging[0]!r}: averaged weights are not validated per epoch",
        )


def check_mixed_training_metrics(context: TrainingContext, report: ValidationReport) -> None:
    """Warn if images are mixed while a callback monitors a training metric other than the loss."""
    if not any(callback.mixes_images for callback in context.spec.callbacks):
        return
    for callback in context.spec.callbacks:
        monitor = getattr(callback, "monitor", "")
        if monitor.startswith("train_") and monitor != "train_loss":
            report.warn(f"{monitor!r} is not meaningful when images are mixed; monitor a loss or a validation metric")
