"""Suggests parameters in a separate process: `python -m core.sweeps.suggestion_process`.

Samplers import Optuna, SciPy and torch, which take memory for as long as a process lives. The process reads requests
from its standard input and writes responses to its standard output, one JSON document per line, until the input ends.
"""

import json
import os
import sys
import traceback

from core.sweeps.sampling import Suggestion, suggest_parameters
from core.sweeps.states import TrialSource
from core.sweeps.trial_requests import decode_request


class SamplerError(Exception):
    """A sampler has raised an exception: the same request would fail again."""


def encode_response(suggestion: Suggestion | None) -> bytes:
    """Return the line with a suggestion, or with null if there is none."""
    return json.dumps(None if suggestion is None else list(suggestion)).encode() + b"\n"


def encode_error(error: Exception) -> bytes:
    """Return the line with an exception of a sampler."""
    return json.dumps({"error": f"{type(error).__name__}: {error}"}).encode() + b"\n"


def decode_response(line: bytes) -> Suggestion | None:
    """Return the suggestion; None if there is none.

    Raises:
        SamplerError: the sampler has raised an exception.
    """
    fields = json.loads(line)
    if fields is None:
        return None
    if isinstance(fields, dict):
        raise SamplerError(fields["error"])
    number, parameters, source = fields
    return Suggestion(number, parameters, TrialSource(source))


def respond(line: bytes) -> bytes:
    """Return the response to a request."""
    try:
        return encode_response(suggest_parameters(*decode_request(line)))
    except Exception as error:  # noqa: BLE001 - a defect of one sampler must not end the process for the others
        traceback.print_exc()
        return encode_error(error)


def main() -> None:
    """Respond to requests until the standard input ends."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as output:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library may print
        for line in sys.stdin.buffer:
            output.write(respond(line))
            output.flush()


if __name__ == "__main__":
    main()
