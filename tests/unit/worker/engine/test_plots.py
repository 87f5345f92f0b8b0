"""Tests of plots: size, determinism and labels."""

import io

import numpy as np
from PIL import Image

from worker.engine.plots import plot_confusion_matrix, plot_contact_sheet, plot_lr_curve, shorten_label


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
