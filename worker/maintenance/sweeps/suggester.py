"""Requests parameters from the process that runs samplers."""

import os
import selectors
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import IO

import structlog

from core.child_environment import build_child_environment
from core.errors import Unavailable
from core.parent_death import die_with_parent
from core.python_process import PYTHON, set_import_path
from core.sweeps.sampling import Suggestion, suggest_parameters
from core.sweeps.spec import SweepSpec
from core.sweeps.suggestion_process import decode_response
from core.sweeps.trial_requests import encode_request
from core.sweeps.trials import SweepTrial

log = structlog.get_logger()
LIGHT_SAMPLERS = ("random", "grid")
"""Samplers that import no library."""
TIMEOUT_S = 120.0
IDLE_S = 60.0
COMMAND = [*PYTHON, "-m", "core.sweeps.suggestion_process"]


class ParameterSuggester:
    """Suggests parameters. The process of other samplers starts with the first request, and ends when it is idle.

    Args:
        idle_s: seconds without requests after which the process ends.
        clock: returns the current time in seconds.
    """

    def __init__(self, *, idle_s: float = IDLE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle_s = idle_s
        self._clock = clock
        self._used_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The id of the process, if it runs."""
        return None if self._process is None else self._process.pid

    def suggest(self, sweep: SweepSpec, trials: Sequence[SweepTrial]) -> Suggestion | None:
        """Return the parameters of the next trial; None if there are none.

        Raises:
            Unavailable: the process ended, or does not respond.
            SamplerError: the sampler has raised an exception.
        """
        if sweep.sampler.name in LIGHT_SAMPLERS:
            return suggest_parameters(sweep, trials)
        process = self._process = self._process or _start_process()
        self._used_at = self._clock()
        try:
            return decode_response(_exchange(process, encode_request(sweep, trials)))
        except (OSError, ValueError) as error:
            self.close()
            raise Unavailable(f"The process that suggests parameters failed: {error}") from error

    def close_idle(self) -> None:
        """End the process if it has been idle for long."""
        if self._process is not None and self._clock() - self._used_at >= self._idle_s:
            self.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            with self._process as process:  # waits for the end
                process.kill()
            self._process = None


def _start_process() -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(  # noqa: S603 - the command comes from this code base
        die_with_parent(COMMAND),
        env=set_import_path(build_child_environment(os.environ)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert process.stdin is not None  # noqa: S101 - a pipe
    os.set_blocking(process.stdin.fileno(), False)  # a write ends when the pipe is full
    return process


def _exchange(process: "subprocess.Popen[bytes]", request: bytes) -> bytes:
    """Send a request and return the response. Raise an OSError if there is none in time."""
    assert process.stdin is not None  # noqa: S101 - a pipe
    assert process.stdout is not None  # noqa: S101 - a pipe
    deadline, rest, response = time.monotonic() + TIMEOUT_S, memoryview(request), b""
    while rest:  # a process that does not read has a full pipe
        _wait_for(process.stdin, selectors.EVENT_WRITE, deadline)
        rest = rest[os.write(process.stdin.fileno(), rest) :]
    while not response.endswith(b"\n"):
        _wait_for(process.stdout, selectors.EVENT_READ, deadline)
        part = os.read(process.stdout.fileno(), 1 << 16)
        if not part:
            raise ConnectionError(f"it ended with status {process.wait()}")
        response += part
    return response


def _wait_for(pipe: IO[bytes], event: int, deadline: float) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, event)
        if not selector.select(max(deadline - time.monotonic(), 0.0)):
            raise TimeoutError(f"no response within {TIMEOUT_S:g} s")
