"""Rows of a table on their way to a network, and the network with a vector a category."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from models import bundle, registry
from models.preprocess import RescaledOutput, Standardize

ROWS = torch.tensor([[10.0, 1.0, 0.0], [14.0, 3.0, 2.0], [math.nan, 0.0, 1.0]])
CARDINALITIES = (0, 3, 2)


def test_numbers_are_standardized_and_missing_ones_are_the_mean() -> None:
    seen = Standardize([12.0, 0.0, 0.0], [2.0, 1.0, 1.0], CARDINALITIES)(ROWS)
    assert seen.tolist() == [[-1, 1, 0], [1, 3, 2], [0, 0, 1]]


def test_categories_are_spread_for_networks_that_know_none() -> None:
    seen = Standardize([12.0, 0.0, 0.0], [2.0, 1.0, 1.0], CARDINALITIES, spreads=True)(ROWS)
    assert seen.tolist() == [[-1, 1, 0, 0, 0, 0], [1, 0, 0, 1, 0, 1], [0, 0, 0, 0, 1, 0]]
    assert registry.input_shape_for("mlp", {}, (3,), CARDINALITIES) == (6,)
    assert registry.input_shape_for("tabular", {}, (3,), CARDINALITIES) == (3,)


@pytest.mark.parametrize("rows", [ROWS.double(), ROWS[:, :2], ROWS.to(torch.uint8)])
def test_rows_of_another_form_are_refused(rows: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="float32"):
        Standardize([0.0] * 3, [1.0] * 3)(rows)


@pytest.mark.parametrize("wrong", [([0.0], [1.0, 1.0]), ([0.0], [0.0]), ([0.0], [1.0], (0, 0))])
def test_means_and_deviations_are_of_the_same_columns(wrong: Any) -> None:
    with pytest.raises(ValueError, match="same columns"):
        Standardize(*wrong)


def test_each_category_has_a_vector_and_an_unknown_one_has_none() -> None:
    network = registry.build("tabular", {"embedding_dim": 4, "hidden": [8]}, (3,), 5, CARDINALITIES)
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    assert shapes["embeddings.0.weight"] == (4, 4)
    assert shapes["embeddings.1.weight"] == (3, 4)
    assert shapes["layers.1.weight"] == (8, 1 + 4 + 4)
    assert network.embeddings[0].weight[0].abs().sum() == 0  # type: ignore[index,union-attr]
    assert network(torch.zeros(2, 3)).shape == (2, 5)


@pytest.mark.parametrize("options", [{}, {"hidden": [], "embedding_dim": 3}, {"batch_norm": True, "dropout": 0.1}])
def test_every_part_of_it_learns(options: dict[str, Any]) -> None:
    network = registry.build("tabular", options, (3,), 2, CARDINALITIES)
    network(ROWS.nan_to_num()).pow(2).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_network_for_tables_refuses_images_and_the_reverse() -> None:
    with pytest.raises(registry.ArchitectureBuildError, match="'mlp' or 'layers' or 'tabular'") as refused:
        registry.check("convnet", {}, (3,), 2, CARDINALITIES)
    assert refused.value.path == "name"
    with pytest.raises(registry.ArchitectureBuildError, match="rows of a table, but the dataset has pictures"):
        registry.check("tabular", {}, (3, 8, 8), 2)


@pytest.mark.parametrize(("name", "options"), [
    ("tabular", {}), ("mlp", {"hidden": [4]}), ("layers", {"layers": [{"type": "linear", "in": 6, "out": 1}]}),
])  # fmt: skip
def test_a_bundle_keeps_what_a_row_means(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    description = bundle.Description(
        architecture=bundle.ArchitectureChoice(name=name, options=registry.resolve(name, options)),
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
    network = registry.build(name, options, (3,), 1, CARDINALITIES).eval()
    bundle.save(tmp_path, network, description)
    loaded, read = bundle.load(tmp_path)
    assert read == description
    assert isinstance(loaded, RescaledOutput)
    with torch.no_grad():
        expected = network(description.preprocess()(ROWS)) * 800 + 4000
        assert torch.equal(loaded(read.preprocess()(ROWS)), expected)
