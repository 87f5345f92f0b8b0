"""Closed-loop load from `wrk`, a process of its own: so many callers, each sending again as soon as it is answered."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True)
class Target:
    """One request, as bytes: where it goes and what it carries."""

    url: str
    content_type: str
    body: Path


@dataclass(frozen=True)
class Load:
    """What so many callers met with; times in milliseconds, of all answers."""

    rate: float
    """Good answers a second."""
    p50_ms: float
    p99_ms: float
    num_answers: int
    num_failed: int
    """Answers that are no 2xx, and connections that broke or timed out."""
    cpu_ms: float = 0.0
    """Processor time of all the server's processes, an answer: what hardly depends on other work on the machine."""


class NotMeasured(RuntimeError):
    """The load generator said nothing that can be read."""


def closed_loop(target: Target, callers: int, seconds: float) -> Load:
    """Drive a server for so long.

    Raises:
        NotMeasured: wrk failed.
    """
    process = start(target, callers, seconds)
    return read(process, seconds)


def start(target: Target, callers: int, seconds: float) -> "subprocess.Popen[str]":
    """The load as a process, for who has something to do meanwhile."""
    command = ["wrk", "-t1", f"-c{callers}", f"-d{round(seconds)}s", "--timeout", "30s", "--latency"]
    command += ["-s", str(SCRIPT), target.url, "--", str(target.body), target.content_type]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def read(process: "subprocess.Popen[str]", seconds: float) -> Load:
    """What a started load met with, when it has ended."""
    try:
        said, _ = process.communicate(timeout=seconds + 60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise NotMeasured("wrk did not end") from None
    lines = [line for line in said.splitlines() if line.startswith("{")]
    if process.returncode or not lines:
        raise NotMeasured(said)
    return of_words(json.loads(lines[-1]))


def of_words(words: dict[str, float]) -> Load:
    """What the script of wrk says: counts, and times in microseconds."""
    failed = int(words["failed"] + words["broken"])
    good = int(words["answers"] - words["failed"])
    return Load(good / (words["duration"] / 1e6), words["p50"] / 1e3, words["p99"] / 1e3, int(words["answers"]), failed)
