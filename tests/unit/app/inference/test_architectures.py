"""Validating architectures in the inference process."""

import orjson
import pytest

from app.inference.architectures import validate_architecture
from app.inference.protocol import ArchitectureInvalid, ValidateArchitecture
from app.serving.backend import InvalidArchitecture
from app.serving.process_pool import parse_architecture_summary
from core.spec.error_pointers import MAX_ERRORS

NUM_UNKNOWN = 5000


def validate_unknown_options() -> ArchitectureInvalid:
    options = orjson.dumps({f"option_{number}": 1 for number in range(NUM_UNKNOWN)})
    response = validate_architecture(ValidateArchitecture(1, "mlp", options, (1, 8, 8), 3, ()))
    assert isinstance(response, ArchitectureInvalid)
    return response


def test_only_the_first_100_errors_are_sent() -> None:
    assert len(orjson.loads(validate_unknown_options().errors)) == MAX_ERRORS


def test_the_other_errors_are_counted() -> None:
    with pytest.raises(InvalidArchitecture) as raised:
        parse_architecture_summary(validate_unknown_options())
    assert (len(raised.value.errors), raised.value.num_errors) == (MAX_ERRORS, NUM_UNKNOWN)
