"""Remembers the threads and the precision that trainings have chosen, so that equal jobs have equal results."""

import json
import threading
from collections.abc import Mapping
from typing import Any

from core.host_resources import count_usable_cores

_MAX_SPECS = 1000
_FIELDS_WITHOUT_EFFECT = ("name", "model", "max_runtime_s")
_TRIALS = {"threads": "thread_trials", "precision": "precision_trials"}
"""The fields of `runtime` that are chosen, and those with the measurements."""


class MeasuredChoices:
    """What the trainings of this worker have chosen by measuring, by spec: `threads` and `precision`."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._choices: dict[str, dict[str, Any]] = {}

    def find(self, spec: Mapping[str, Any], runtime: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the choices of the job's earlier attempt, or of an earlier job with an equal spec.

        A choice is missing if neither has measured it, and a number of threads if this machine has fewer cores.
        `runtime`: that of the job.
        """
        choices = _select_measured(runtime or {})
        if not choices:
            with self._mutex:
                choices = dict(self._choices.get(_build_key(spec), {}))
        if choices.get("threads", 0) > count_usable_cores():
            del choices["threads"]
        return choices

    def record(self, spec: Mapping[str, Any], runtime: Mapping[str, Any]) -> None:
        """Record what is in a job's `runtime`, if the job has measured it."""
        choices = _select_measured(runtime)
        if not choices:
            return
        with self._mutex:
            while len(self._choices) >= _MAX_SPECS:
                del self._choices[next(iter(self._choices))]
            self._choices[_build_key(spec)] = choices


def _select_measured(runtime: Mapping[str, Any]) -> dict[str, Any]:
    return {name: runtime[name] for name, trials in _TRIALS.items() if trials in runtime}


def _build_key(spec: Mapping[str, Any]) -> str:
    relevant = {name: value for name, value in spec.items() if name not in _FIELDS_WITHOUT_EFFECT}
    return json.dumps(relevant, sort_keys=True)
