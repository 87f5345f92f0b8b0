"""Starts a trainer process as a worker does, for trainings on several devices."""

import subprocess
import sys
from pathlib import Path

from benchmarks.gpu_proof.setting import ProofSetting
from core.spec import JobSpec
from worker.protocol import TRAINER_MESSAGES, Metrics

ROOT = Path(__file__).parent.parent.parent
TIMEOUT_S = 240


def run_trainer(setting: ProofSetting, spec: JobSpec) -> float:
    """Train in a new process, and return the last training loss that it reports.

    Raises:
        RuntimeError: the trainer failed.
    """
    num_devices = spec.resources.devices
    spec_file = setting.folder / f"spec-{num_devices}.json"
    spec_file.write_text(spec.model_dump_json())
    options = {
        "--spec": spec_file,
        "--dataset-dir": setting.folder / "synthetic",
        "--work-dir": setting.folder / f"work-{num_devices}",
    }
    arguments = [str(word) for item in options.items() for word in item]
    command = [sys.executable, "-m", "worker.trainer", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, cwd=ROOT, check=False)
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr).decode(errors="replace")[-2000:])
    losses = [
        point.value
        for line in done.stdout.splitlines()
        if isinstance(message := TRAINER_MESSAGES.validate_json(line), Metrics)
        for point in message.points
        if (point.split, point.name) == ("train", "loss")
    ]
    return float(losses[-1])
