"""What only the networks' own code can say of an architecture: its options, and whether it could be built so."""

import orjson
from pydantic import ValidationError

import models  # noqa: F401 - registers the architectures
from app.inference.protocol import (
    ArchitectureFacts,
    ArchitectureInvalid,
    ArchitectureValid,
    Error,
    ValidateArchitecture,
    to_error,
)
from core.errors import NotFound
from models import registry


def facts() -> list[ArchitectureFacts]:
    """Every architecture there is, in the order of registration."""
    entries = [registry.get(name) for name in registry.names()]
    return [
        ArchitectureFacts(
            entry.name,
            entry.summary,
            entry.source or None,
            orjson.dumps(entry.options.model_json_schema()),
            None if entry.pretrained is None else entry.pretrained.missing() or "",
        )
        for entry in entries
    ]


def check(question: ValidateArchitecture) -> ArchitectureValid | ArchitectureInvalid | Error:
    """Build the network where nothing takes memory, and follow one batch through; large ones take half a second."""
    try:
        options = registry.resolve(question.name, orjson.loads(question.options))
        summary = registry.check(
            question.name, options, question.sample_shape, question.num_outputs, question.cardinalities
        )
    except ValidationError as error:
        return ArchitectureInvalid(question.id, error.json(include_input=False, include_url=False).encode(), "", "")
    except registry.ArchitectureBuildError as error:
        return ArchitectureInvalid(question.id, b"", error.path, str(error))
    except registry.UnknownArchitecture as error:
        return to_error(question.id, NotFound(f"There is no architecture {error}."))
    return ArchitectureValid(
        question.id, orjson.dumps(options), summary.num_parameters, summary.output_shape, summary.parameter_names
    )
