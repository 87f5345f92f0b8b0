"""Computes the importance of parameters in a separate process: `python -m core.sweeps.importance_process`.

It reads a sweep and its trials as JSON from standard input, and writes the report as JSON. scikit-learn needs a second
to start, 150 MB of memory and, for thousands of trials, seconds of processor time, which the HTTP process should not
spend.
"""

import json
import sys

from core.process_tuning import set_niceness
from core.sweeps.importance import ImportanceReport, ParameterImportance, compute_importance
from core.sweeps.trial_requests import decode_request

NICENESS = 10


def decode_response(text: str | bytes) -> ImportanceReport | None:
    """Return the report in the output of the process."""
    document = json.loads(text)
    if document is None:
        return None
    parameters = [ParameterImportance(*values) for values in document.pop("parameters")]
    return ImportanceReport(**document, parameters=parameters)


def run(request: bytes) -> str:
    """Return the output for an input."""
    report = compute_importance(*decode_request(request))
    return json.dumps(None if report is None else report._asdict())


if __name__ == "__main__":
    set_niceness(NICENESS)
    sys.stdout.write(run(sys.stdin.buffer.read()))
