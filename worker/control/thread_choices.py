"""Remembers the numbers of threads that trainings have chosen, so that equal jobs have equal results."""

import json
import threading
from collections.abc import Mapping
from typing import Any

from core.host_resources import count_usable_cores

_MAX_SPECS = 1000
_FIELDS_WITHOUT_EFFECT = ("name", "model", "max_runtime_s")


class ThreadChoices:
    """The numbers of threads by spec, of the trainings of this worker with `threads: "auto"`."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._threads: dict[str, int] = {}

    def find(self, spec: Mapping[str, Any], runtime: Mapping[str, Any] | None) -> int | None:
        """Return the number of threads of the job's earlier attempt, or of an earlier job with an equal spec.

        Return None if neither has measured it, or if this machine has fewer cores. `runtime`: that of the job.
        """
        if runtime is not None and "thread_trials" in runtime:
            threads = int(runtime["threads"])
            return threads if threads <= count_usable_cores() else None
        with self._mutex:
            return self._threads.get(_build_key(spec))

    def record(self, spec: Mapping[str, Any], runtime: Mapping[str, Any]) -> None:
        """Record the number of threads in a job's `runtime`, if the job has measured it."""
        if "thread_trials" not in runtime:
            return
        with self._mutex:
            while len(self._threads) >= _MAX_SPECS:
                del self._threads[next(iter(self._threads))]
            self._threads[_build_key(spec)] = runtime["threads"]


def _build_key(spec: Mapping[str, Any]) -> str:
    relevant = {name: value for name, value in spec.items() if name not in _FIELDS_WITHOUT_EFFECT}
    return json.dumps(relevant, sort_keys=True)
