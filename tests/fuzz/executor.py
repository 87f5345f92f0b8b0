"""Runs examples of a target in this process, each under its budget, and stores those that fail."""

import faulthandler
import gc
import hashlib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import TextIO

import structlog

from tests.fuzz.budget import MAX_INPUT_BYTES, Budget, StatusBoard, limit_cpu
from tests.fuzz.findings import Failure, FindingsFolder, describe_exception
from tests.fuzz.target import FuzzTarget

_COLLECT_EVERY = 1000


def prepare_process(stack_file: Path) -> TextIO:
    """Silence logs and warnings, and write a traceback to `stack_file` if a signal ends this process.

    Return the open file, which must stay open.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    file = stack_file.open("w")
    faulthandler.enable(file)
    for number in (signal.SIGPROF, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
        faulthandler.register(number, file, all_threads=False, chain=True)
    return file


class Executor:
    """Runs examples of one target.

    Args:
        target: the target.
        budget: the limits of each example.
        board: shows the running input to the parent.
        findings: stores the failures.
        fatal: SHA-256 of inputs that ended an earlier process. They are not run again.
    """

    def __init__(
        self,
        target: FuzzTarget,
        budget: Budget,
        board: StatusBoard,
        findings: FindingsFolder,
        fatal: Collection[str] = (),
    ) -> None:
        self._target = target
        self._budget = budget
        self._board = board
        self._findings = findings
        self._fatal = frozenset(fatal)
        self._count = 0

    def run(self, body: bytes) -> Failure | None:
        """Run one example. Return its failure, which is stored."""
        if len(body) > MAX_INPUT_BYTES or (self._fatal and compute_digest(body) in self._fatal):
            return None
        self._count += 1
        if self._count % _COLLECT_EVERY == 0:
            gc.collect()
        with self._board.show_example(body):
            failure = self._run_under_limits(body)
            if failure is not None:
                self._findings.add(failure, body)
        return failure

    def _run_under_limits(self, body: bytes) -> Failure | None:
        try:
            with limit_cpu(self._budget):
                self._target.run(body)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a panic of a Rust extension is a BaseException
            return describe_exception(error)
        return None


def compute_digest(body: bytes) -> str:
    """Return the SHA-256 of an input."""
    return hashlib.sha256(body).hexdigest()


def exit_now(status: int) -> None:
    """End the process without waiting for threads of the targets."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
