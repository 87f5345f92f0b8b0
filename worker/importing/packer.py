"""Packs one dataset in a separate process and reads the result."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

import structlog

from core.child_environment import build_child_environment
from core.parent_death import die_with_parent
from worker.importing.process import ImportFailure, PackRequest, PackResult

log = structlog.get_logger(__name__)
_POLL_S = 0.05
_MAX_S = 4 * 3600.0
_STDERR_CHARACTERS = 4000
_REPOSITORY = Path(__file__).resolve().parents[2]


def run_packer(
    request: PackRequest,
    scratch: Path,
    on_poll: Callable[[], None],
    *,
    max_s: float = _MAX_S,
    extra_variables: Collection[str] = (),
    clock: Callable[[], float] = time.monotonic,
) -> PackResult:
    """Pack a dataset in a separate process. Return its result, or a failure if the process crashes or takes too long.

    Args:
        request: the dataset to pack, with the options.
        scratch: the folder that contains `request.out`. The process's stderr and result are also written there.
        on_poll: called every 50 ms while the process runs. If the call raises an exception, the process is killed.
        max_s: the process is killed after that many seconds; default: 4 hours.
        extra_variables: names of environment variables that the process inherits in addition to those in
            `core.child_environment`.
        clock: returns the time in seconds.
    """
    ends_at = clock() + max_s
    with (scratch / "stderr").open("w+b") as stderr:
        process = subprocess.Popen(  # noqa: S603 - the command is constant
            die_with_parent([sys.executable, "-m", "worker.importing.process"]),
            env=build_child_environment(os.environ, extra_variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            cwd=_REPOSITORY,
            start_new_session=True,
        )
        try:
            _send_request(process, request)
            while process.poll() is None:
                if clock() > ends_at:
                    return _build_timeout_result(max_s)
                time.sleep(_POLL_S)
                on_poll()
        finally:
            _kill_process(process)
    return _read_result(scratch, process.returncode)


def _build_timeout_result(max_s: float) -> PackResult:
    log.warning("import.timed_out", max_s=max_s)
    return PackResult(
        failure=ImportFailure(
            code="import_timeout",
            message=f"The import took longer than {max_s:g} s.",
            hint="Upload fewer or smaller files, or ask the operator to raise CANDELA_MAX_IMPORT_S.",
        )
    )


def _send_request(process: "subprocess.Popen[bytes]", request: PackRequest) -> None:
    if process.stdin is None:
        raise RuntimeError("the packing process has no stdin")
    try:
        process.stdin.write(request.model_dump_json().encode())
        process.stdin.close()
    except BrokenPipeError:  # the process already exited; `_read_result` handles its status
        log.warning("import.request_not_sent")


def _kill_process(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read_result(scratch: Path, status: int) -> PackResult:
    stderr = (scratch / "stderr").read_text(errors="replace")[-_STDERR_CHARACTERS:]
    try:
        result = PackResult.model_validate_json((scratch / "result.json").read_bytes())
    except (OSError, ValueError):
        log.exception("import.crashed", status=status, stderr=stderr)
        cause = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return PackResult(
            failure=ImportFailure(
                code="import_crashed",
                message=f"The process that decodes the files ended with {cause}.",
                hint="A file may crash its decoder, or the import ran out of memory; see the worker's log.",
            )
        )
    if result.failure is not None and result.failure.code == "internal":
        log.error("import.crashed", status=status, stderr=stderr)  # stderr has the traceback, which no client sees
    return result
