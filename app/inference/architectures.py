"""Lists and validates architectures. Imports torch and the packages that define the networks."""

import orjson
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
from models import registry


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
        )
        for entry in entries
    ]


def validate_architecture(request: ValidateArchitecture) -> ArchitectureValid | ArchitectureInvalid | Error:
    """Build the network on the meta device and trace the shapes of a batch. This takes 0.5 s for large networks.

    Without the shape of a sample, check only the options.
    """
    try:
        options = registry.resolve_options(request.name, orjson.loads(request.options))
        if not request.sample_shape:
            return ArchitectureValid(request.id, orjson.dumps(options), 0, (), ())
        summary = registry.validate_architecture(
            request.name, options, request.sample_shape, request.num_outputs, request.cardinalities
        )
    except ValidationError as error:
        errors = orjson.loads(error.json(include_input=False, include_url=False))
        return ArchitectureInvalid(request.id, orjson.dumps(errors[:MAX_ERRORS]), "", "", len(errors))
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
    )
