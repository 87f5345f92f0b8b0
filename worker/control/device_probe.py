"""Detects the devices of this machine that trainers can use."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import structlog

from core.child_environment import build_child_environment
from core.host_resources import count_usable_cores
from core.python_process import PYTHON, set_import_path

log = structlog.get_logger()
# The script runs in a separate process, so that CUDA and torch do not occupy memory in the worker.
_PROBE_SCRIPT = """
import json, torch
devices = [{"name": "cpu", "threads": torch.get_num_threads()}]
for i in range(torch.cuda.device_count()):
    p = torch.cuda.get_device_properties(i)
    devices.append({"name": f"cuda:{i}", "model": p.name, "memory_bytes": p.total_memory})
if torch.backends.mps.is_available():
    devices.append({"name": "mps"})
print(json.dumps(devices))
"""
_PROBE_TIMEOUT_S = 120
_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA, NVIDIA under WSL, AMD


def has_accelerator() -> bool:
    """Return whether the machine may have a GPU. On Linux, it must have the device file of a GPU driver."""
    return sys.platform != "linux" or any(Path(path).exists() for path in _DRIVERS)


def probe_devices() -> list[dict[str, Any]]:
    """Return the devices of this machine: dicts with `name` and, if known, `threads`, `model` and `memory_bytes`."""
    if not has_accelerator():
        return [{"name": "cpu", "threads": count_usable_cores()}]
    try:
        process = subprocess.run(  # noqa: S603 - our interpreter and our script
            [*PYTHON, "-c", _PROBE_SCRIPT],
            env=set_import_path(build_child_environment(os.environ)),
            capture_output=True,
            check=True,
            timeout=_PROBE_TIMEOUT_S,
        )
        devices: list[dict[str, Any]] = json.loads(process.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        log.warning("devices.probe_failed", error=str(error))
        return [{"name": "cpu"}]
    return devices
