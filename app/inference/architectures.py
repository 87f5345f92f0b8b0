"""Lists and validates architectures. Imports torch and the packages that define the networks."""

from typing import Any

import orjson
import torch
from pydantic import ValidationError

import models  # noqa: F401 - registers the architectures
from app.inference.protocol import (
    ArchitectureInfo,
    ArchitectureInvalid,
    ArchitectureValid,
    Error,
    ValidateArchitecture,
    to_error_message,
)
from app.inference.types import ResizeRecipe
from core.errors import NotFound
from core.spec.error_pointers import MAX_ERRORS
from core.spec.error_reasons import summarize_input
from core.spec.freezing import match_frozen_parameters
from core.spec.shorthand import expand_document
from models import registry
from models.network_split import CannotSplit, NetworkSplit, find_frozen_norms


def list_architectures() -> list[ArchitectureInfo]:
    """Return all architectures, in the order of registration."""
    entries = [registry.get_architecture(name) for name in registry.list_architectures()]
    return [
        ArchitectureInfo(
            entry.name,
            entry.summary,
            entry.source or None,
            orjson.dumps(entry.options.model_json_schema()),
            None if entry.pretrained is None else entry.pretrained.find_missing_package() or "",
            None if entry.recipe is None else ResizeRecipe(*entry.recipe),
            0 if entry.pretrained is None else entry.pretrained.num_classes,
            () if entry.pretrained is None else entry.pretrained.image_shape,
        )
        for entry in entries
    ]


def validate_architecture(request: ValidateArchitecture) -> ArchitectureValid | ArchitectureInvalid | Error:
    """Build the network on the meta device and trace the shapes of a batch. This takes 0.5 s for large networks.

    Without the shape of a sample, check only the options.
    """
    try:
        options_class = registry.get_architecture(request.name).options
        options = registry.resolve_options(request.name, expand_document(options_class, orjson.loads(request.options)))
        if not request.sample_shape:
            return ArchitectureValid(request.id, orjson.dumps(options), 0, (), ())
        summary = registry.validate_architecture(
            request.name, options, request.sample_shape, request.num_outputs, request.cardinalities
        )
    except ValidationError as error:
        errors = error.errors(include_url=False)
        explained = [{**each, "input": summarize_input(each["input"])} for each in errors[:MAX_ERRORS]]
        return ArchitectureInvalid(request.id, orjson.dumps(explained, default=str), "", "", len(errors))
    except registry.ArchitectureBuildError as error:
        return ArchitectureInvalid(request.id, b"", error.path, str(error))
    except registry.UnknownArchitecture as error:
        return to_error_message(request.id, NotFound(f"There is {error} in the catalog."))
    return ArchitectureValid(
        request.id,
        orjson.dumps(options),
        summary.num_parameters,
        summary.output_shape,
        summary.parameter_names,
        summary.single_value_norms,
        _find_cache_obstacle(request, options) if request.freeze else "",
    )


def _find_cache_obstacle(request: ValidateArchitecture, options: dict[str, Any]) -> str:
    """Return the reason why the outputs of the frozen layers cannot be cached; empty if they can."""
    with torch.device("meta"):
        network = registry.build_network(
            request.name, options, request.sample_shape, request.num_outputs, request.cardinalities
        )
    frozen = match_frozen_parameters(request.freeze, [name for name, _ in network.named_parameters()])
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    network.train()
    for norm in find_frozen_norms(network) if request.freeze_bn_stats else ():
        norm.eval()
    try:
        NetworkSplit(network, frozen)
    except CannotSplit as error:
        return str(error)
    return ""
