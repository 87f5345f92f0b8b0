"""The recipes of torchvision's networks are those of its newest weights."""

import pytest
import torchvision

from models import registry
from models.torchvision import TORCHVISION
from models.torchvision_recipes import RECIPES


@pytest.mark.parametrize("name", [architecture.name for architecture in TORCHVISION])
def test_a_recipe_is_that_of_torchvision(name: str) -> None:
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    (crop,), (side,) = transform.crop_size, transform.resize_size
    assert registry.get_architecture(name).recipe == RECIPES[name] == (crop, side, transform.interpolation.value)


def test_every_recipe_belongs_to_a_network() -> None:
    assert set(RECIPES) == {architecture.name for architecture in TORCHVISION}
