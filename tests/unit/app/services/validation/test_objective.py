"""Rules for losses, metrics and monitors."""

import pytest

from app.services.catalog import list_union_members
from core.datasets.definition import DatasetInfo
from core.spec.losses import LOSS_INPUTS, LossSpec
from tests.support.validation import IMAGES, find_errors, resolve_training

LAYERS = [{"type": "flatten"}, {"type": "linear", "out": 3}]
NUMBERS = DatasetInfo("regression", (), 3, (1, 8, 8), {"train": 100, "valid": 20})
LABELS = DatasetInfo("multilabel", ("a", "b", "c"), 3, (1, 8, 8), {"train": 100, "valid": 20})


def list_warnings(info: DatasetInfo, loss: str, last: str | None) -> tuple[str, ...]:
    layers = [*LAYERS, *([{"type": last}] if last else [])]
    architecture = {"name": "layers", "layers": layers}
    return resolve_training(info, loss={"name": loss}, architecture=architecture, metrics=[]).warnings


@pytest.mark.parametrize(
    ("info", "loss", "last", "advice"),
    [
        (IMAGES, "cross_entropy", "softmax", "returns probabilities"),
        (IMAGES, "cross_entropy", "log_softmax", "returns log-probabilities; use 'nll'"),
        (IMAGES, "cross_entropy", "sigmoid", "returns probabilities"),
        (IMAGES, "focal", "softmax", "returns probabilities"),
        (IMAGES, "multi_margin", "log_softmax", "returns log-probabilities; use 'nll'"),
        (IMAGES, "nll", None, "returns raw scores; use 'cross_entropy' or 'focal' or 'multi_margin'"),
        (IMAGES, "nll", "softmax", "returns probabilities"),
        (LABELS, "bce_with_logits", "sigmoid", "returns probabilities; use 'bce'"),
        (LABELS, "bce", None, "returns raw scores; use 'bce_with_logits' or"),
        (LABELS, "bce", "log_softmax", "returns log-probabilities"),
        (LABELS, "bce_with_logits", "log_softmax", "returns log-probabilities"),
        (NUMBERS, "kl_div", None, "returns raw scores"),
        (NUMBERS, "kl_div", "softmax", "returns probabilities"),
    ],
)
def test_a_last_layer_that_contradicts_the_loss_gives_a_warning(
    info: DatasetInfo, loss: str, last: str | None, advice: str
) -> None:
    (warning,) = list_warnings(info, loss, last)
    assert warning.startswith(f"the loss '{loss}' ")
    assert advice in warning


@pytest.mark.parametrize(
    ("info", "loss", "last"),
    [
        (IMAGES, "cross_entropy", None),
        (IMAGES, "nll", "log_softmax"),
        (LABELS, "bce_with_logits", None),
        (LABELS, "bce", "sigmoid"),
        (NUMBERS, "kl_div", "log_softmax"),
        (NUMBERS, "mse", "sigmoid"),
        (NUMBERS, "huber", None),
    ],
)
def test_last_layer_that_fits_the_loss_gives_no_warning(info: DatasetInfo, loss: str, last: str | None) -> None:
    assert list_warnings(info, loss, last) == ()


def test_convnet_outputs_raw_scores() -> None:
    assert len(resolve_training(loss={"name": "nll"}).warnings) == 1
    assert resolve_training().warnings == ()


def test_every_loss_is_in_the_table_of_losses() -> None:
    names = [kind.model_fields["name"].default for kind in list_union_members(LossSpec)]
    assert sorted(names) == sorted(LOSS_INPUTS)


def test_loss_weights_have_one_value_per_class_or_output() -> None:
    weights = {"name": "cross_entropy", "class_weights": [1.0, 2.0]}
    reason = "must have 3 values, one per class; got 2"
    assert find_errors(loss=weights) == [("/loss/class_weights", reason)]
    weights = {"name": "bce_with_logits", "pos_weight": [1.0, 2.0]}
    reason = "must have 3 values, one per output; got 2"
    assert find_errors(LABELS, loss=weights) == [("/loss/pos_weight", reason)]


def test_metrics_must_fit_the_classes_and_be_listed_once() -> None:
    assert find_errors(metrics=[{"name": "top_k", "k": 4}]) == [
        ("/metrics/0/k", "must be at most 3, the number of classes; got 4")
    ]
    assert find_errors(metrics=["accuracy", "accuracy"]) == [("/metrics/1", "the metric 'accuracy' is listed twice")]
    binary = IMAGES._replace(task="binary", classes=("a", "b"), num_outputs=1)
    auroc = [{"name": "auroc", "average": "none"}]
    assert [pointer for pointer, _ in find_errors(binary, metrics=auroc)] == ["/metrics/0/average"]


def test_monitor_must_be_a_curve_of_its_split() -> None:
    metrics = [{"name": "accuracy", "on": "valid"}, {"name": "auroc", "average": "none"}]
    resolve_training(metrics=metrics, callbacks=[{"name": "keep_best", "monitor": "valid_accuracy"}])
    for monitor in ("train_accuracy", "valid_auroc"):
        errors = find_errors(metrics=metrics, callbacks=[{"name": "keep_best", "monitor": monitor}])
        assert [pointer for pointer, _ in errors] == ["/callbacks/0/monitor"]


@pytest.mark.parametrize("name", ["early_stopping", "model_checkpoint", "keep_best"])
def test_every_callback_with_a_monitor_is_checked(name: str) -> None:
    errors = find_errors(callbacks=[{"name": name, "monitor": "valid_f1"}])
    assert errors[0][0] == "/callbacks/0/monitor"
    assert errors[0][1].startswith("'valid_f1' is not a metric of this job; did you mean ")


def test_validation_metrics_cannot_be_monitored_without_validation_samples() -> None:
    dataset = {"name": "digits", "valid": 0}
    errors = find_errors(
        dataset=dataset,
        callbacks=[{"name": "keep_best", "monitor": "valid_loss"}, {"name": "early_stopping", "monitor": "train_f1"}],
        schedule={"name": "plateau", "monitor": "valid_accuracy"},
    )
    reason = (
        "'valid_loss' requires validation samples, but the job has none; monitor 'train_loss', or set "
        "/dataset/valid to a number above 0"
    )
    assert errors[0] == ("/callbacks/0/monitor", reason)
    assert errors[1][1].startswith("'train_f1' is not a metric of this job; did you mean 'train_")
    assert errors[2][0] == "/schedule/monitor"


def test_metrics_need_samples_on_which_they_are_computed() -> None:
    metrics = ["accuracy", {"name": "f1", "on": "valid"}, "confusion_matrix"]
    none = {"name": "digits", "valid": 0}
    assert [pointer for pointer, _ in find_errors(dataset=none, metrics=metrics)] == ["/metrics/1", "/metrics/2"]
    resolve_training(dataset=none | {"test": 0.2}, metrics=metrics)
    resolve_training(IMAGES._replace(splits={"train": 100, "test": 9}), dataset=none, metrics=metrics)
