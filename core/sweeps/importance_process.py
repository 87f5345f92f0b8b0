"""Computes the importance of parameters in a separate process: `python -m core.sweeps.importance_process`.

It reads a sweep and its trials as JSON from standard input, and writes the report as JSON. scikit-learn needs a second
to start, 150 MB of memory and, for thousands of trials, seconds of processor time, which the HTTP process should not
spend.
"""

import json
import math
import sys
from collections.abc import Iterable
from typing import Any

from core.process_tuning import set_niceness
from core.sweeps.importance import ImportanceReport, ParameterImportance, compute_importance
from core.sweeps.spec import SweepSpec
from core.sweeps.states import TrialState
from core.sweeps.trials import SweepTrial

NICENESS = 10


def encode_request(sweep: SweepSpec, trials: Iterable[SweepTrial]) -> str:
    """Return the input of the process."""
    rows = [
        {
            "number": trial.number,
            "state": trial.state,
            "parameters": dict(trial.parameters),
            "scores": [[epochs, score if math.isfinite(score) else None] for epochs, score in trial.scores.items()],
            "epochs": trial.epochs,
            "interruptions": trial.interruptions,
        }
        for trial in trials
    ]
    return json.dumps({"sweep": sweep.model_dump(mode="json"), "trials": rows}, allow_nan=False)


def decode_response(text: str) -> ImportanceReport | None:
    """Return the report in the output of the process."""
    document = json.loads(text)
    if document is None:
        return None
    parameters = [ParameterImportance(*values) for values in document.pop("parameters")]
    return ImportanceReport(**document, parameters=parameters)


def run(text: str) -> str:
    """Return the output for an input."""
    document = json.loads(text)
    report = compute_importance(
        SweepSpec.model_validate(document["sweep"]), [_decode_trial(row) for row in document["trials"]]
    )
    return json.dumps(None if report is None else report._asdict())


def _decode_trial(row: dict[str, Any]) -> SweepTrial:
    scores = {epochs: math.nan if score is None else score for epochs, score in row.pop("scores")}
    return SweepTrial(**row | {"state": TrialState(row["state"])}, scores=scores)


if __name__ == "__main__":
    set_niceness(NICENESS)
    sys.stdout.write(run(sys.stdin.read()))
