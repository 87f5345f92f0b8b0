"""The direction of a metric follows from its name."""

import pytest

from core.metric_direction import get_direction


@pytest.mark.parametrize(
    ("monitor", "direction"),
    [
        ("valid_loss", "min"),
        ("train_mae", "min"),
        ("valid_rmse", "min"),
        ("valid_accuracy", "max"),
        ("valid_top_5_accuracy", "max"),
        ("valid_f1", "max"),
        ("valid_auroc", "max"),
        ("valid_r2", "max"),
        ("train_precision", "max"),
        ("train_recall", "max"),
    ],
)
def test_auto_direction_follows_the_metric(monitor: str, direction: str) -> None:
    assert get_direction(monitor) == direction
