"""Proves Candela on a GPU in one command, and writes a JSON report.

    python -m benchmarks.gpu_proof [--device cuda] [--out report.json] [--minutes 9] [--cifar-dir PACKED] [--tiny]

Requires torch, numpy, Pillow, OpenCV and `benchmarks/gpu_proof/requirements.txt`, but no service, database or queue.
Each section runs even if an earlier one failed. A section that would start after the time limit is skipped.
The exit status is 1 if a section or a check (`is_…`) failed.
`--device cpu --tiny` tests the proof itself.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_proof import accuracy, exactness, speed
from benchmarks.gpu_proof.setting import ProofSetting

ROOT = Path(__file__).parent.parent.parent
Section = Callable[[ProofSetting], dict[str, Any]]


def run_gpu_tests(setting: ProofSetting) -> dict[str, Any]:
    """Run the tests of the marker `gpu`, if pytest is installed."""
    if setting.device.type != "cuda":
        return {"skipped": "requires CUDA"}
    files = sorted({str(path) for path in (ROOT / "tests/unit").rglob("test_*.py") if "mark.gpu" in path.read_text()})
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {"exit_status": done.returncode, "summary": lines[-1] if lines else "", "failed": failed[:40]}


def list_failed_checks(results: Mapping[Any, Any], path: str = "") -> list[str]:
    """Return the paths of errors, of tests that failed and of `is_…` values that are false, at any depth."""
    failed = list[str]()
    for name, value in results.items():
        if isinstance(value, Mapping):
            failed += list_failed_checks(value, f"{path}{name}.")
        elif name == "error" or (name == "exit_status" and value) or (str(name).startswith("is_") and not value):
            failed.append(path + name)
    return failed


SECTIONS: dict[str, Section] = {
    "resume": exactness.check_resume,
    "precisions": exactness.check_precisions,
    "memory": exactness.check_memory,
    "training": speed.measure_training,
    "serving": speed.measure_serving,
    "time_to_accuracy": accuracy.measure_time_to_accuracy,
    "data_parallel": exactness.check_data_parallel,
    "gpu_tests": run_gpu_tests,
}


def run_sections(setting: ProofSetting, names: list[str]) -> dict[str, Any]:
    """Run sections, and return their results. A failed section has its error."""
    results: dict[str, Any] = {}
    for name in names:
        started_at = time.monotonic()
        if started_at > setting.deadline_s:
            results[name] = {"skipped": "no time was left"}
            continue
        try:
            results[name] = SECTIONS[name](setting)
        except Exception as error:  # noqa: BLE001 - the other sections run nevertheless
            results[name] = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()[-3000:]}
        results[name]["section_s"] = round(time.monotonic() - started_at, 1)
        print(f"{name}: {json.dumps(results[name])}", flush=True)
    return results


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return the device and the versions."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "device": str(device),
        "device_name": name,
        "num_devices": torch.cuda.device_count(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "python": platform.python_version(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the proof. Return 1 if a section or a check failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--out", type=Path, default=Path("gpu-proof.json"))
    parser.add_argument("--minutes", type=float, default=9.0, help="no section starts later")
    parser.add_argument(
        "--cifar-dir", type=Path, help="a packed CIFAR-10 dataset with test images, for the time to 94 %%"
    )
    parser.add_argument("--tiny", action="store_true", help="small networks and few images")
    parser.add_argument("--section", action="append", choices=list(SECTIONS), help="default: all sections")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device; `--device cpu --tiny` tests the proof itself")
    device = torch.device(options.device, 0) if options.device == "cuda" else torch.device("cpu")
    if options.tiny:
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        deadline_s = time.monotonic() + 60 * options.minutes
        setting = ProofSetting(device, options.tiny, Path(folder), options.cifar_dir, deadline_s)
        results = run_sections(setting, options.section or list(SECTIONS))
    report = {"machine": describe_machine(device), "sections": results}
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    failed = list_failed_checks(results)
    print(f"The report is in {options.out}. " + (f"Failed: {', '.join(failed)}." if failed else "No check failed."))
    return 1 if failed else 0
