"""Rules for callbacks: exclusive groups, classes, images, and combinations that make no sense."""

from core.datasets.definition import DatasetInfo
from tests.support.validation import find_errors, resolve_training


def test_one_callback_averages_weights_and_one_mixes_images() -> None:
    callbacks = [{"name": "ema"}, {"name": "mixup"}, {"name": "swa"}, {"name": "cutmix"}]
    assert find_errors(callbacks=callbacks) == [
        ("/callbacks/2", "only one callback may average weights; remove 'swa'"),
        ("/callbacks/3", "only one callback may mix images; remove 'cutmix'"),
    ]


def test_keep_best_cannot_be_combined_with_swa() -> None:
    errors = find_errors(callbacks=[{"name": "swa"}, {"name": "keep_best"}])
    reason = "'keep_best' cannot be combined with 'swa': averaged weights are not validated per epoch"
    assert errors == [("/callbacks", reason)]


def test_training_metric_of_mixed_images_gives_a_warning() -> None:
    stopping = {"name": "early_stopping", "monitor": "train_accuracy"}
    (warning,) = resolve_training(callbacks=[{"name": "mixup"}, stopping]).warnings
    assert warning.startswith("'train_accuracy' is not meaningful")
    assert resolve_training(callbacks=[{"name": "mixup"}, {"name": "early_stopping"}]).warnings == ()


def test_callback_that_writes_a_file_is_allowed_once() -> None:
    callbacks = [{"name": "csv_logger"}, {"name": "tensorboard"}, {"name": "csv_logger"}]
    assert find_errors(callbacks=callbacks) == [
        ("/callbacks/2", "only one callback may write metrics.csv; remove 'csv_logger'")
    ]


def test_confusion_matrix_requires_classes_and_at_most_a_thousand() -> None:
    numbers = DatasetInfo("regression", (), 1, (1, 8, 8), {"train": 100, "valid": 20})
    callbacks = [{"name": "worst_samples"}, {"name": "confusion_matrix"}]
    reason = "'confusion_matrix' requires classes, but the targets of the dataset are numbers"
    assert find_errors(numbers, callbacks=callbacks) == [("/callbacks/1/name", reason)]
    many = DatasetInfo("classification", tuple(map(str, range(1001))), 1001, (1, 8, 8), {"train": 100, "valid": 20})
    ((_, reason),) = find_errors(many, callbacks=callbacks)
    assert "at most 1000" in reason


def test_callbacks_that_write_validation_results_require_validation_samples() -> None:
    callbacks = [{"name": "csv_logger"}, {"name": "confusion_matrix"}, {"name": "worst_samples"}]
    errors = find_errors(dataset={"name": "digits", "valid": 0}, callbacks=callbacks)
    assert [pointer for pointer, _ in errors] == ["/callbacks/1/name", "/callbacks/2/name"]
    assert errors[0][1] == (
        "'confusion_matrix' requires validation samples, but the job has none; remove it, or set /dataset/valid to a "
        "number above 0"
    )
    resolve_training(callbacks=callbacks)
