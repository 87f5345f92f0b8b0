"""Preprocessing of rows, and networks with embeddings of categories."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from models import bundle, registry
from models.preprocess import RescaledOutput, Standardize

ROWS = torch.tensor([[10.0, 1.0, 0.0], [14.0, 3.0, 2.0], [math.nan, 0.0, 1.0]])
CARDINALITIES = (0, 3, 2)


def test_numbers_are_standardized_and_missing_ones_become_the_mean() -> None:
    seen = Standardize([12.0, 0.0, 0.0], [2.0, 1.0, 1.0], CARDINALITIES)(ROWS)
    assert seen.tolist() == [[-1, 1, 0], [1, 3, 2], [0, 0, 1]]


def test_categories_are_one_hot_for_networks_without_embeddings() -> None:
    seen = Standardize([12.0, 0.0, 0.0], [2.0, 1.0, 1.0], CARDINALITIES, spreads=True)(ROWS)
    assert seen.tolist() == [[-1, 1, 0, 0, 0, 0], [1, 0, 0, 1, 0, 1], [0, 0, 0, 0, 1, 0]]
    assert registry.input_shape_for("mlp", {}, (3,), CARDINALITIES) == (6,)
    assert registry.input_shape_for("tabular", {}, (3,), CARDINALITIES) == (3,)


@pytest.mark.parametrize("rows", [ROWS.double(), ROWS[:, :2], ROWS.to(torch.uint8)])
def test_rows_of_another_shape_are_rejected(rows: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="float32"):
        Standardize([0.0] * 3, [1.0] * 3)(rows)


@pytest.mark.parametrize("wrong", [([0.0], [1.0, 1.0]), ([0.0], [0.0]), ([0.0], [1.0], (0, 0))])
def test_mean_and_std_must_have_the_same_length(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"must (have the same length|be positive)"):
        Standardize(*wrong)


def test_each_category_has_an_embedding_and_unknown_is_zero() -> None:
    network = registry.build_network("tabular", {"embedding_dim": 4, "hidden": [8]}, (3,), 5, CARDINALITIES)
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    assert shapes["embeddings.0.weight"] == (4, 4)
    assert shapes["embeddings.1.weight"] == (3, 4)
    assert shapes["layers.1.weight"] == (8, 1 + 4 + 4)
    assert network.embeddings[0].weight[0].abs().sum() == 0  # type: ignore[index,union-attr]
    assert network(torch.zeros(2, 3)).shape == (2, 5)


@pytest.mark.parametrize("options", [{}, {"hidden": [], "embedding_dim": 3}, {"batch_norm": True, "dropout": 0.1}])
def test_every_parameter_receives_gradients(options: dict[str, Any]) -> None:
    network = registry.build_network("tabular", options, (3,), 2, CARDINALITIES)
    network(ROWS.nan_to_num()).pow(2).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_tabular_rejects_images_and_convnet_rejects_rows() -> None:
    with pytest.raises(registry.ArchitectureBuildError, match="'mlp' or 'layers' or 'tabular'") as refused:
        registry.validate_architecture("convnet", {}, (3,), 2, CARDINALITIES)
    assert refused.value.path == "name"
    with pytest.raises(registry.ArchitectureBuildError, match="rows of a table, but the dataset has images"):
        registry.validate_architecture("tabular", {}, (3, 8, 8), 2)


@pytest.mark.parametrize(("name", "options"), [
    ("tabular", {}), ("mlp", {"hidden": [4]}), ("layers", {"layers": [{"type": "linear", "in": 6, "out": 1}]}),
])  # fmt: skip
def test_bundle_stores_the_columns(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    description = bundle.BundleDescription(
        architecture=bundle.ArchitectureChoice(name=name, options=registry.resolve_options(name, options)),
        image_shape=(3,),
        num_outputs=1,
        task="regression",
        classes=["mass"],
        mean=[12, 0, 0],
        std=[2, 1, 1],
        table=bundle.TableDescription(
            columns=[
                bundle.ColumnDescription(name="length"),
                bundle.ColumnDescription(name="island", categories=["a", "b", "c"]),
                bundle.ColumnDescription(name="sex", categories=["f", "m"]),
            ],
            targets=["mass"],
            missing="impute",
        ),
        target_mean=[4000.0],
        target_std=[800.0],
    )
    network = registry.build_network(name, options, (3,), 1, CARDINALITIES).eval()
    bundle.save_bundle(tmp_path, network, description)
    loaded, read = bundle.load_bundle(tmp_path)
    assert read == description
    assert isinstance(loaded, RescaledOutput)
    with torch.no_grad():
        expected = network(description.build_preprocessing()(ROWS)) * 800 + 4000
        assert torch.equal(loaded(read.build_preprocessing()(ROWS)), expected)
