"""Tests of plots: size, determinism and labels."""

import io
import math
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from worker.engine.metric_history import MetricHistory
from worker.engine.plots import (
    plot_confusion_matrix,
    plot_contact_sheet,
    plot_learning_curve,
    plot_lr_curve,
    shorten_label,
)


def test_equal_numbers_give_equal_bytes() -> None:
    first, second = (plot_lr_curve([0.01, 0.1], [2.0, 1.0], [2.0, 1.5], 0.01) for _ in range(2))
    assert first == second


def test_confusion_matrix_grows_with_the_classes() -> None:
    small, large = (
        Image.open(io.BytesIO(plot_confusion_matrix(np.eye(size, dtype=np.int64), [str(i) for i in range(size)])))
        for size in (2, 15)
    )
    assert small.width < large.width


def test_contact_sheet_accepts_any_channel_count() -> None:
    images = [np.zeros((4, 4, channels), np.uint8) for channels in (1, 3, 5)]
    sheet = Image.open(io.BytesIO(plot_contact_sheet(images, ["a", "b", "c"])))
    assert sheet.width > sheet.height


def test_long_labels_have_at_most_sixteen_characters() -> None:
    assert shorten_label("a" * 16) == "a" * 16
    assert shorten_label("a" * 17) == "a" * 15 + "…"


def build_history(num_epochs: int, *names: str, value: float | None = None) -> MetricHistory:
    history = MetricHistory()
    for epoch in range(1, num_epochs + 1):
        history.record(epoch, dict.fromkeys(names, 1 / epoch if value is None else value))
    return history


@pytest.mark.parametrize(
    "history",
    [
        build_history(1, "train_loss", "valid_loss", "valid_accuracy"),
        build_history(15, "train_loss"),
        build_history(3, "train_loss", "valid_loss", value=math.nan),
        build_history(3, "train_loss", "valid_loss", value=math.inf),
        build_history(1000, "train_loss", *(f"valid_metric_{number}" for number in range(20))),
        build_history(2, "train_loss", value=-1e300),
        build_history(2, "train_loss", value=0.0),
    ],
    ids=["one epoch", "no validation", "NaN", "infinite", "many metrics", "huge", "zero"],
)
@pytest.mark.parametrize("best_epoch", [None, 1])
def test_any_history_has_a_learning_curve(history: MetricHistory, best_epoch: int | None) -> None:
    image = Image.open(io.BytesIO(plot_learning_curve(history, best_epoch)))
    image.load()
    assert image.format == "PNG"
    assert max(image.size) <= 1400


def test_each_metric_has_a_panel_up_to_six() -> None:
    names = [f"valid_{name}" for name in ("loss", "a", "b", "c", "d", "e", "f", "g")]
    sizes = [Image.open(io.BytesIO(plot_learning_curve(build_history(3, *names[:n])))).size for n in (1, 2, 3, 4, 6, 8)]
    assert sizes == [(460, 340), (920, 340), (1380, 340), (1380, 680), (1380, 680), (1380, 680)]


def test_values_that_are_not_finite_leave_gaps() -> None:
    complete, gap = build_history(9, "train_loss"), build_history(9, "train_loss")
    gap.values["train_loss"][4] = math.nan
    assert plot_learning_curve(complete) != plot_learning_curve(gap)


def test_threads_can_plot_at_the_same_time() -> None:
    history, before = build_history(9, "train_loss", "valid_loss"), sys.getswitchinterval()
    expected = plot_learning_curve(history)
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(plot_learning_curve, [history] * 12)) == {expected}
    finally:
        sys.setswitchinterval(before)
