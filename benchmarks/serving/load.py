"""Closed-loop load with `wrk`: each caller sends its next request when it has received the response."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True)
class Target:
    """A request: URL, content type and body."""

    url: str
    content_type: str
    body: Path


@dataclass(frozen=True)
class Load:
    """The result of one measurement. Times are in milliseconds, over all responses."""

    rate: float
    """Successful responses per second."""
    p50_ms: float
    p99_ms: float
    num_responses: int
    num_failed: int
    """Responses with a status other than 2xx, and connections that failed or timed out."""
    cpu_ms: float = 0.0
    """CPU time of all processes of the server per response. It hardly depends on other work on the machine."""


class MeasurementError(RuntimeError):
    """The load generator failed or printed no result."""


def run_closed_loop(target: Target, callers: int, seconds: float) -> Load:
    """Send requests for a number of seconds and return the result.

    Raises:
        NotMeasured: wrk failed.
    """
    process = start_load(target, callers, seconds)
    return read_load(process, seconds)


def start_load(target: Target, callers: int, seconds: float) -> "subprocess.Popen[str]":
    """Start the load generator and return its process."""
    command = ["wrk", "-t1", f"-c{callers}", f"-d{round(seconds)}s", "--timeout", "30s", "--latency"]
    command += ["-s", str(SCRIPT), target.url, "--", str(target.body), target.content_type]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def read_load(process: "subprocess.Popen[str]", seconds: float) -> Load:
    """Wait for a load generator and return its result."""
    try:
        output, _ = process.communicate(timeout=seconds + 60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise MeasurementError("wrk did not end") from None
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if process.returncode or not lines:
        raise MeasurementError(output)
    return parse_summary(json.loads(lines[-1]))


def parse_summary(summary: dict[str, float]) -> Load:
    """Parse the output of `wrk.lua`: counts, and times in microseconds."""
    failed = int(summary["failed"] + summary["broken"])
    good = int(summary["responses"] - summary["failed"])
    return Load(
        good / (summary["duration"] / 1e6),
        summary["p50"] / 1e3,
        summary["p99"] / 1e3,
        int(summary["responses"]),
        failed,
    )
