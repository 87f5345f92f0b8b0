"""Every metric equals scikit-learn on random splits in which classes are absent."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torchmetrics import Metric

from core.datasets.packed import PackedMeta, Task
from core.spec.metrics import MetricSpec
from worker.builders.metrics import make_metric
from worker.engine.metrics.accumulator import MetricAccumulator
from worker.engine.metrics.factory import build_adapter

Floats = NDArray[np.float64]
Expected = Callable[[NDArray[Any], Floats], Any]
SPEC: TypeAdapter[Any] = TypeAdapter(MetricSpec)
THRESHOLD = 0.3
EXAMPLES = 40
RATIOS: dict[str, Callable[..., Any]] = {
    "precision": sklearn.metrics.precision_score,
    "recall": sklearn.metrics.recall_score,
    "f1": sklearn.metrics.f1_score,
}
RATIO_CASES = [(name, average) for name in RATIOS for average in ("macro", "micro", "weighted")]


@st.composite
def splits(draw: st.DrawFn, task: Task) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Draw raw scores (N, C) and targets of a split. Often, some classes do not occur, or only one occurs."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_outputs = 1 if task == "binary" else draw(st.integers(2, 6))
    num_samples = draw(st.integers(1, 40))
    scores = rng.normal(size=(num_samples, num_outputs)) * draw(st.sampled_from([1.0, 10.0, 100.0]))
    if task == "classification":
        present = draw(st.sets(st.integers(0, num_outputs - 1), min_size=1))
        targets = rng.choice(sorted(present), num_samples)
        scores[np.arange(num_samples), targets] += draw(st.sampled_from([0.0, 2.0, 50.0]))
        return scores.astype(np.float32), targets
    rates = draw(st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=num_outputs, max_size=num_outputs))
    return scores.astype(np.float32), (rng.random((num_samples, num_outputs)) < rates).astype(np.float32)


def build_metric(spec: dict[str, Any], task: Task, num_outputs: int) -> Metric:
    meta = PackedMeta(
        task=task,
        classes=(),
        num_outputs=num_outputs,
        image_shape=(1, 8, 8),
        splits={"train": 1},
        mean=(0.0,),
        std=(1.0,),
        resize="stretch",
        content_hash="0",
    )
    return make_metric(SPEC.validate_python(spec), meta)


def compute(spec: dict[str, Any], task: Task, scores: NDArray[np.float32], targets: NDArray[Any]) -> Any:
    """Return the value that a job reports, as a number or as nested lists."""
    metric = build_metric(spec, task, scores.shape[1])
    accumulator = MetricAccumulator({"value": metric}, build_adapter(task))
    for start in range(0, len(scores), 7):
        part = slice(start, start + 7)
        accumulator.update(torch.from_numpy(scores[part]), torch.from_numpy(targets[part]), torch.tensor(0.0))
    return (accumulator.compute_values() | accumulator.compute_tables())["value"]


def get_probabilities(scores: NDArray[np.float32], task: Task) -> Floats:
    return build_adapter(task)(torch.from_numpy(scores), torch.zeros(1))[0].numpy()


def get_labels(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return whether each label is predicted at THRESHOLD."""
    labels: NDArray[np.int64] = (scores.astype(np.float64) > np.log(THRESHOLD / (1 - THRESHOLD))).astype(np.int64)
    return labels


def mean_area(targets: NDArray[Any], probabilities: Floats, average: str) -> Any:
    """Return scikit-learn's areas, or their mean over the columns that have positives and negatives."""
    areas = np.full(targets.shape[1], np.nan)
    for column in range(targets.shape[1]):
        if len(np.unique(targets[:, column])) == 2:
            areas[column] = sklearn.metrics.roc_auc_score(targets[:, column], probabilities[:, column])
    if average == "none":
        return areas
    is_defined = ~np.isnan(areas)
    weights = targets.sum(axis=0) if average == "weighted" else np.ones(len(areas))
    return np.average(areas[is_defined], weights=weights[is_defined]) if is_defined.any() else np.nan


def check(value: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(value, float), np.asarray(expected, float), rtol=2e-5, atol=2e-6)


@settings(max_examples=EXAMPLES)
@given(splits("classification"))
def test_accuracy_of_classes(split: tuple[Any, Any]) -> None:
    scores, targets = split
    check(
        compute({"name": "accuracy"}, "classification", scores, targets),
        sklearn.metrics.accuracy_score(targets, scores.argmax(axis=1)),
    )


@settings(max_examples=EXAMPLES)
@given(splits("classification"), st.data())
def test_top_k_accuracy(split: tuple[Any, Any], data: st.DataObject) -> None:
    scores, targets = split
    k = data.draw(st.integers(1, scores.shape[1]))
    ranks = (scores > scores[np.arange(len(targets)), targets][:, None]).sum(axis=1)
    check(compute({"name": "top_k", "k": k}, "classification", scores, targets), (ranks < k).mean())


@pytest.mark.parametrize(("name", "average"), RATIO_CASES)
@settings(max_examples=EXAMPLES)
@given(split=splits("classification"))
def test_ratios_of_classes(name: str, average: str, split: tuple[Any, Any]) -> None:
    scores, targets = split
    expected = RATIOS[name](targets, scores.argmax(axis=1), average=average, zero_division=0)
    check(compute({"name": name, "average": average}, "classification", scores, targets), expected)


@pytest.mark.parametrize(("name", "average"), RATIO_CASES)
@settings(max_examples=EXAMPLES)
@given(split=splits("multilabel"))
def test_ratios_of_labels(name: str, average: str, split: tuple[Any, Any]) -> None:
    scores, targets = split
    expected = RATIOS[name](targets, get_labels(scores), average=average, zero_division=0)
    spec = {"name": name, "average": average, "threshold": THRESHOLD}
    check(compute(spec, "multilabel", scores, targets), expected)


@pytest.mark.parametrize("name", RATIOS)
@settings(max_examples=EXAMPLES)
@given(split=splits("binary"))
def test_ratios_of_binary_targets(name: str, split: tuple[Any, Any]) -> None:
    scores, targets = split
    expected = RATIOS[name](targets[:, 0], get_labels(scores)[:, 0], zero_division=0)
    check(compute({"name": name, "threshold": THRESHOLD}, "binary", scores, targets), expected)


@pytest.mark.parametrize("task", ["binary", "multilabel"])
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_accuracy_of_labels(task: Task, data: st.DataObject) -> None:
    scores, targets = data.draw(splits(task))
    expected = sklearn.metrics.accuracy_score(targets.ravel(), get_labels(scores).ravel())
    check(compute({"name": "accuracy", "threshold": THRESHOLD}, task, scores, targets), expected)


@pytest.mark.parametrize("average", ["macro", "weighted", "micro", "none"])
@pytest.mark.parametrize("task", ["classification", "multilabel"])
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_auroc(task: Task, average: str, data: st.DataObject) -> None:
    scores, targets = data.draw(splits(task))
    indicators = np.eye(scores.shape[1])[targets] if task == "classification" else targets
    probabilities = get_probabilities(scores, task)
    if average == "micro":
        expected = mean_area(indicators.reshape(-1, 1), probabilities.reshape(-1, 1), "macro")
    else:
        expected = mean_area(indicators, probabilities, average)
    check(compute({"name": "auroc", "average": average}, task, scores, targets), expected)


@settings(max_examples=EXAMPLES)
@given(splits("binary"))
def test_auroc_of_binary_targets(split: tuple[Any, Any]) -> None:
    scores, targets = split
    expected = mean_area(targets, get_probabilities(scores, "binary"), "macro")
    check(compute({"name": "auroc"}, "binary", scores, targets), expected)


@pytest.mark.parametrize("average", ["macro", "weighted", "none"])
@pytest.mark.parametrize("task", ["classification", "multilabel"])
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_approximate_auroc_is_exact_if_all_probabilities_are_thresholds(
    task: Task, average: str, data: st.DataObject
) -> None:
    scores, targets = data.draw(splits(task))
    probabilities = np.round(get_probabilities(scores, task) * 4) / 4
    indicators = np.eye(scores.shape[1], dtype=np.int64)[targets] if task == "classification" else targets.astype(int)
    metric = build_metric({"name": "auroc", "average": average, "thresholds": 5}, task, scores.shape[1])
    metric.update(torch.from_numpy(probabilities), torch.from_numpy(targets).long())
    check(metric.compute().tolist(), mean_area(indicators, probabilities, average))


@pytest.mark.parametrize("task", ["classification", "binary", "multilabel"])
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_confusion_matrix(task: Task, data: st.DataObject) -> None:
    scores, targets = data.draw(splits(task))
    predicted = scores.argmax(axis=1) if task == "classification" else (scores > 0).astype(int)
    if task == "multilabel":
        expected = sklearn.metrics.multilabel_confusion_matrix(targets, predicted)
    else:
        labels = range(max(2, scores.shape[1]))
        expected = sklearn.metrics.confusion_matrix(targets.ravel(), predicted.ravel(), labels=labels)
    check(compute({"name": "confusion_matrix"}, task, scores, targets), expected)


@st.composite
def regressions(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw predictions and targets (N, K) of any magnitude. Targets can be constant or almost constant."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(2, 60)), draw(st.integers(1, 3))
    deviation = draw(st.sampled_from([1e-6, 1e-3, 1.0, 1e6]))
    targets = deviation * (draw(st.sampled_from([0.0, 1.0, 2000.0])) + rng.normal(size=shape))
    targets = np.repeat(targets[:1], shape[0], axis=0) if draw(st.booleans()) and draw(st.booleans()) else targets
    errors = deviation * draw(st.sampled_from([0.0, 0.1, 3.0])) * rng.normal(size=shape)
    return (targets + errors).astype(np.float32), targets.astype(np.float32)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mae", sklearn.metrics.mean_absolute_error),
        ("mse", sklearn.metrics.mean_squared_error),
        ("rmse", lambda targets, preds: np.sqrt(sklearn.metrics.mean_squared_error(targets, preds))),
        ("r2", sklearn.metrics.r2_score),
    ],
)
@settings(max_examples=EXAMPLES)
@given(split=regressions())
def test_regression_metrics(name: str, expected: Expected, split: tuple[Any, Any]) -> None:
    preds, targets = split
    value = compute({"name": name}, "regression", preds, targets)
    reference = expected(targets.astype(np.float64), preds.astype(np.float64))
    np.testing.assert_allclose(value, reference, rtol=1e-4, atol=0)
