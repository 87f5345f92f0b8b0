"""The import option `recipe`."""

from collections.abc import Mapping
from typing import Any

import pytest

from app.services.resize_recipes import expand_recipe
from app.serving.backend import ArchitectureEntry
from core.datasets.ingest.resize_options import ResizeOptions, find_conflicts
from core.errors import InvalidSpec
from models import registry
from tests.support.validation import NETWORKS


def test_a_recipe_is_replaced_by_its_options() -> None:
    options = expand_recipe({"recipe": "efficientnet_lite0", "is_table": False}, NETWORKS.list_architectures)
    assert options == {
        "recipe": "efficientnet_lite0",
        "is_table": False,
        "image_size": "224",
        "resize": "crop",
        "resize_shorter_side": 256,
        "interpolation": "bicubic",
    }


def test_every_recipe_gives_valid_options() -> None:
    entries = NETWORKS.list_architectures()
    pretrained = {name for name in entries if registry.get_architecture(name).pretrained is not None}
    names = {name for name, entry in entries.items() if entry.recipe is not None}
    assert pretrained
    assert pretrained < names
    for name in names:
        options = expand_recipe({"recipe": name}, lambda: entries)
        assert find_conflicts(options) == []
        recipe = entries[name].recipe
        assert recipe is not None
        assert ResizeOptions(**options).policy == recipe.policy


def test_without_a_recipe_no_architectures_are_listed() -> None:
    def list_architectures() -> Mapping[str, ArchitectureEntry]:
        raise AssertionError("the inference process was asked")

    assert expand_recipe({"image_size": "8"}, list_architectures) == {"image_size": "8"}


@pytest.mark.parametrize(
    ("options", "pointer", "reason"),
    [
        ({"recipe": "convnet"}, "?recipe", "unknown recipe 'convnet'; did you mean 'convnext_"),
        ({"recipe": "resnet50 "}, "?recipe", "unknown recipe 'resnet50 '; did you mean 'resnet50'"),
        ({"recipe": "efficientnet_lite0", "resize": "pad"}, "?resize", "cannot be combined with recipe"),
        ({"recipe": "efficientnet_lite0", "image_size": "8"}, "?image_size", "cannot be combined with recipe"),
    ],
)
def test_other_recipes_and_contradictions_are_rejected(options: dict[str, Any], pointer: str, reason: str) -> None:
    with pytest.raises(InvalidSpec) as raised:
        expand_recipe(options, NETWORKS.list_architectures)
    ((found, text),) = raised.value.errors
    assert (found, text.startswith(reason)) == (pointer, True)
