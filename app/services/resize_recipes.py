"""Replaces the import option `recipe` with the options of an architecture's evaluation recipe."""

from collections.abc import Callable, Mapping
from typing import Any

from app.services.validation.report import reject, reject_all
from app.serving.backend import ArchitectureEntry
from core.datasets.ingest.resize_options import ResizeOptions
from core.spec.error_pointers import format_unknown_name

_RECIPE = "recipe"


def expand_recipe(
    options: Mapping[str, Any], list_architectures: Callable[[], Mapping[str, ArchitectureEntry]]
) -> dict[str, Any]:
    """Return the import options with those of the recipe that they name. Without a recipe, they are unchanged.

    Args:
        options: the options of a client.
        list_architectures: returns the architectures by name. It is called only if there is a recipe.

    Raises:
        InvalidSpec: the architecture has no recipe, or the options also set an option that the recipe sets.
        Unavailable: the inference process has not started.
    """
    name = options.get(_RECIPE)
    if name is None:
        return dict(options)
    set_by_recipe = [option for option in ResizeOptions.model_fields if option != _RECIPE and option in options]
    if set_by_recipe:
        reject_all([(f"?{option}", "cannot be combined with recipe, which sets it") for option in set_by_recipe])
    recipes = {entry.name: entry.recipe for entry in list_architectures().values() if entry.recipe is not None}
    if name not in recipes:
        reject(f"?{_RECIPE}", format_unknown_name("recipe", name, list(recipes)))
    recipe = recipes[name]
    return dict(options) | {
        "image_size": str(recipe.image_size),
        "resize": "crop",
        "resize_shorter_side": recipe.shorter_side,
        "interpolation": recipe.interpolation,
    }
