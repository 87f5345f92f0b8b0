"""Rules for callbacks, by the properties that their specs declare; no rule names a callback."""

from app.services.validation.report import ValidationReport
from app.services.validation.training import TrainingContext


def check_exclusive_callbacks(context: TrainingContext, report: ValidationReport) -> None:
    """Check that at most one callback of a group is there, such as those that average weights."""
    groups = set[str]()
    for index, callback in enumerate(context.spec.callbacks):
        group = callback.exclusive_group
        if group in groups:
            report.add(f"/callbacks/{index}", f"only one callback may {group}; remove {callback.name!r}")
        if group is not None:
            groups.add(group)


def check_callback_samples(context: TrainingContext, report: ValidationReport) -> None:
    """Check that callbacks that change images have images."""
    for index, callback in enumerate(context.spec.callbacks):
        if callback.mixes_images and context.dataset_info.table is not None:
            report.add(f"/callbacks/{index}", f"{callback.name!r} mixes images; the dataset is a table")


def check_callback_classes(context: TrainingContext, report: ValidationReport) -> None:
    """Check that callbacks that write a table by class have classes, and not too many."""
    dataset_info = context.dataset_info
    for index, callback in enumerate(context.spec.callbacks):
        if callback.max_classes is None:
            continue
        if dataset_info.task == "regression":
            reason = f"{callback.name!r} requires classes; the targets of the dataset are numbers"
            report.add(f"/callbacks/{index}/name", reason)
        elif len(dataset_info.classes) > callback.max_classes:
            reason = (
                f"{callback.name!r} takes at most {callback.max_classes} classes; there are {len(dataset_info.classes)}"
            )
            report.add(f"/callbacks/{index}/name", reason)


def check_best_epoch(context: TrainingContext, report: ValidationReport) -> None:
    """Check that the best epoch is not selected among weights that no epoch validates."""
    callbacks = context.spec.callbacks
    selecting = [callback.name for callback in callbacks if callback.selects_best_epoch]
    averaging = [callback.name for callback in callbacks if callback.averages_after_training]
    if selecting and averaging:
        report.add(
            "/callbacks",
            f"{selecting[0]!r} cannot be combined with {averaging[0]!r}: averaged weights are not validated per epoch",
        )


def check_mixed_training_metrics(context: TrainingContext, report: ValidationReport) -> None:
    """Warn about monitors of training metrics where images are mixed; the training loss stays meaningful."""
    if not any(callback.mixes_images for callback in context.spec.callbacks):
        return
    for callback in context.spec.callbacks:
        monitor = getattr(callback, "monitor", "")
        if monitor.startswith("train_") and monitor != "train_loss":
            report.warn(f"{monitor!r} is not meaningful when images are mixed; monitor a loss or a validation metric")
