"""The preview of an image dataset."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.datasets.image_preview import PREVIEW_FILE, write_image_preview
from tests.support.datasets import IMAGES, write_packed


def read_preview(folder: Path) -> np.ndarray:
    write_image_preview(folder)
    with Image.open(folder / PREVIEW_FILE) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def test_each_class_has_its_images(tmp_path: Path) -> None:
    images = np.zeros_like(IMAGES)
    images[1::3] = (255, 0, 0)
    write_packed(tmp_path / "a", images=images)
    is_red = (read_preview(tmp_path / "a") == (255, 0, 0)).all(axis=-1)
    third = is_red.shape[1] // 3
    assert is_red[:, third : 2 * third].mean() > 0.2
    assert not is_red[:, :third].any()
    assert not is_red[:, 2 * third :].any()


@pytest.mark.parametrize("task", ["regression", "multilabel", "binary"])
def test_every_task_has_a_preview(task: str, tmp_path: Path) -> None:
    targets = (np.arange(10) % 2).reshape(10, 1)
    classes = ("no", "yes") if task == "binary" else ("a" * 300,)
    write_packed(tmp_path / "a", task=task, classes=classes, num_outputs=1, targets=targets)
    assert read_preview(tmp_path / "a").ndim == 3
