"""Predictors for embeddings and heatmaps."""

from pathlib import Path

import numpy as np
import pytest

from app.inference.outputs import AttentionPredictor, EmbeddingPredictor, load_predictor
from app.inference.types import TargetedImage
from core.errors import InvalidSpec
from models import bundle
from tests.support import bundles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    description = bundles.build_description()
    bundle.save_bundle(tmp_path, bundles.build_network(description), description)
    return tmp_path


@pytest.fixture
def images() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), dtype=np.uint8))


def test_the_output_selects_the_predictor(folder: Path, images: list[np.ndarray]) -> None:
    embedding, attention, scores = (
        load_predictor(output, folder, device="cpu") for output in ("embedding", "attention", "scores")
    )
    assert isinstance(embedding, EmbeddingPredictor)
    assert isinstance(attention, AttentionPredictor)
    assert embedding(images).shape == (2, 16)
    assert attention(images).shape == (2, 3 + 8 * 8)
    np.testing.assert_allclose(attention(images)[:, :3], scores(images), atol=1e-5)


def test_the_target_selects_the_class_of_the_heatmap(folder: Path, images: list[np.ndarray]) -> None:
    predictor = AttentionPredictor.load(folder)
    top = int(predictor(images[:1])[0, :3].argmax())
    maps = [predictor([TargetedImage(images[0], target)])[0, 3:] for target in range(3)]
    np.testing.assert_allclose(predictor(images[:1])[0, 3:], maps[top], atol=1e-5)
    assert not np.allclose(maps[0], maps[1])
    assert not np.allclose(maps[1], maps[2])


def test_an_unsupported_output_is_an_invalid_spec(tmp_path: Path) -> None:
    description = bundles.build_description(architecture={"name": "mlp", "options": {"hidden": [4]}})
    bundle.save_bundle(tmp_path, bundles.build_network(description), description)
    with pytest.raises(InvalidSpec):
        load_predictor("attention", tmp_path, device="cpu")
