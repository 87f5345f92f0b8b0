"""The metrics of all epochs."""

import json
import math

from worker.engine.metric_history import MAX_EPOCHS, MetricHistory


def test_a_metric_that_appears_later_has_no_earlier_values() -> None:
    history = MetricHistory()
    history.record(1, {"train_loss": 1.0})
    history.record(2, {"train_loss": 0.5, "valid_loss": math.nan})
    history.record(3, {"valid_loss": 0.1})
    assert history.epochs == [1, 2, 3]
    assert history.values["train_loss"] == [1.0, 0.5, None]
    assert str(history.values["valid_loss"]) == "[None, nan, 0.1]"


def test_a_history_is_restored_from_json_and_is_a_copy() -> None:
    history = MetricHistory()
    history.record(1, {"train_loss": math.inf})
    document = history.to_dict()
    history.record(2, {"train_loss": 1.0})
    restored = MetricHistory.from_dict(json.loads(json.dumps(document)))
    assert (restored.epochs, restored.values) == ([1], {"train_loss": [math.inf]})


def test_a_long_history_is_thinned_and_keeps_its_ends() -> None:
    history = MetricHistory()
    for epoch in range(1, 10 * MAX_EPOCHS + 1):
        history.record(epoch, {"train_loss": float(epoch)})
    assert len(history.epochs) <= MAX_EPOCHS
    assert history.epochs[0] == 1
    assert history.epochs[-1] == 10 * MAX_EPOCHS
    assert history.values["train_loss"] == [float(epoch) for epoch in history.epochs]
