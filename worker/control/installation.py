"""Describes the machine and the installation of the worker, for the `runtime` of jobs and for their lineage."""

import platform
from functools import cache
from pathlib import Path
from typing import Any

from core.source_revision import get_lock_hash, get_revision
from core.version import get_version

CPU_INFO = Path("/proc/cpuinfo")


@cache
def describe_installation() -> dict[str, Any]:
    """Return the processor, and the versions that affect results and that the trainer does not report itself."""
    return {
        "processor": read_processor_name(),
        "python": platform.python_version(),
        "candela": get_version(),
        "revision": get_revision(),
        "lock_sha256": get_lock_hash(),
    }


def read_processor_name() -> str | None:
    """Return the model name of the processor; None if the system does not report it."""
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        return platform.processor() or None
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or None)
