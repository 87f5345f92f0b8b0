"""Distributes validations of architectures among processes, so that slow ones do not delay fast ones."""

import threading
from collections.abc import Callable, Sequence

from app.inference.protocol import ArchitectureInvalid, ArchitectureValid, Error, ValidateArchitecture
from app.inference.validation_process import ValidationProcess
from core.errors import Overloaded

MAX_PENDING = 64
MAX_FAST_OPTIONS_BYTES = 2048
MAX_FAST_CPU_S = 0.1

Response = ArchitectureValid | ArchitectureInvalid | Error
_Job = tuple[ValidateArchitecture, Callable[[ValidationProcess], object]]


class ValidationQueue:
    """Runs fast validations in the first process and slow ones in the last process.

    A validation is slow if its options are long, or if the last validation of the same architecture with options of
    about the same length took more than `MAX_FAST_CPU_S` of processor time. This is decided when the validation starts:
    of many requests with a slow architecture, only the first one delays fast validations.
    """

    def __init__(self, processes: Sequence[ValidationProcess]) -> None:
        self._processes = processes
        self._mutex = threading.Lock()
        self._waiting: list[_Job] = []
        self._num_pending = 0  # including those that run
        self._cpu_s: dict[tuple[str, int], float] = {}  # processor time of the last one of each kind

    def submit(self, request: ValidateArchitecture, on_response: Callable[[Callable[[], Response]], object]) -> None:
        """Validate an architecture in a process, as soon as the validations before it have ended.

        Args:
            request: the request to validate.
            on_response: called in another thread with a function that validates the request.

        Raises:
            Overloaded: too many validations wait.
        """
        with self._mutex:
            if self._num_pending >= MAX_PENDING:
                detail = "Too many networks wait for validation."
                raise Overloaded(detail, waiting=self._num_pending, retry_after_s=5)
            self._num_pending += 1
            self._waiting.append((request, lambda process: on_response(lambda: self._validate(process, request))))
        self._wake_threads()

    def _wake_threads(self) -> None:
        for process in self._processes:
            process.threads.submit(self._run_waiting, process)

    def _run_waiting(self, process: ValidationProcess) -> None:
        """Run the validations that wait for a process."""
        while (run := self._take(process)) is not None:
            run(process)

    def _take(self, process: ValidationProcess) -> Callable[[ValidationProcess], object] | None:
        with self._mutex:
            for index, (request, run) in enumerate(self._waiting):
                if self._processes[0 if self._is_fast(request) else -1] is process:
                    del self._waiting[index]
                    return run
        return None

    def _is_fast(self, request: ValidateArchitecture) -> bool:
        has_short_options = len(request.options) <= MAX_FAST_OPTIONS_BYTES
        return has_short_options and self._cpu_s.get(_get_kind(request), 0.0) <= MAX_FAST_CPU_S

    def _validate(self, process: ValidationProcess, request: ValidateArchitecture) -> Response:
        try:
            return process.validate(request)
        finally:
            with self._mutex:
                self._num_pending -= 1
                was_fast = self._is_fast(request)
                self._cpu_s[_get_kind(request)] = process.cpu_s
                has_changed = self._is_fast(request) is not was_fast
            if has_changed:  # validations that wait now belong to another process
                self._wake_threads()


def _get_kind(request: ValidateArchitecture) -> tuple[str, int]:
    """Return the key of validations that take about the same time. There are at most 20 for each architecture."""
    return request.name, len(request.options).bit_length()
