"""Requests to the processes of samplers and of importances: a sweep and its trials, as a line of JSON."""

import json
from collections.abc import Iterable
from typing import Any

from core.sweeps.spec import SweepSpec
from core.sweeps.states import TrialSource, TrialState
from core.sweeps.trials import SweepTrial


def encode_request(sweep: SweepSpec, trials: Iterable[SweepTrial]) -> bytes:
    """Return the line with a sweep and its trials. Scores that are not finite are written as `NaN` and `Infinity`."""
    rows = [
        [
            trial.number,
            trial.state,
            dict(trial.parameters),
            list(trial.scores.items()),
            trial.epochs,
            trial.source,
            trial.parent,
            trial.interruptions,
        ]
        for trial in trials
    ]
    return json.dumps([sweep.model_dump(mode="json"), rows]).encode() + b"\n"


def decode_request(line: bytes) -> tuple[SweepSpec, list[SweepTrial]]:
    """Return the sweep and its trials."""
    sweep, rows = json.loads(line)
    return SweepSpec.model_validate(sweep), [_build_trial(*row) for row in rows]


def _build_trial(
    number: int,
    state: str,
    parameters: dict[str, Any],
    scores: list[tuple[int, float]],
    epochs: int,
    source: str,
    parent: list[int] | None,
    interruptions: int,
) -> SweepTrial:
    return SweepTrial(
        number=number,
        state=TrialState(state),
        parameters=parameters,
        scores=dict(scores),
        epochs=epochs,
        source=TrialSource(source),
        parent=None if parent is None else (parent[0], parent[1]),
        interruptions=interruptions,
    )
