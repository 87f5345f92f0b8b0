"""Checks on the device: exact resume, operations without a deterministic kernel, precisions, memory, many samples."""

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.gpu_proof.setting import ProofSetting
from core.spec import JobSpec
from models.bundle import write_weights
from worker.builders import build_run
from worker.engine import snapshot
from worker.engine.callback import Callback
from worker.engine.dataloader import DeviceResidentDataLoader
from worker.engine.device import Precision
from worker.engine.run import Run
from worker.engine.state import RunState

AUGMENTED = {
    "name": "synthetic",
    "train_transforms": [{"name": "horizontal_flip"}, {"name": "random_crop", "padding": 2}],
}


MAX_PRECISION_DIFFERENCE = 0.5
"""Of the loss after two epochs: a precision that does not train is further from fp32."""
MAX_PARALLEL_DIFFERENCE = 0.01


class InterruptAfter(Callback):
    """Interrupts the run after a number of optimizer steps."""

    def __init__(self, num_steps: int) -> None:
        self._num_steps = num_steps

    def on_train_batch_end(self, state: RunState) -> None:
        if state.step == self._num_steps:
            state.interrupt()


@contextmanager
def use_deterministic_kernels() -> Iterator[list[str]]:
    """Require deterministic kernels, and yield the list of the operations that have none."""
    missing = list[str]()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield missing
        finally:
            torch.use_deterministic_algorithms(False)
            texts = {str(each.message) for each in caught}
            missing += sorted(text.split(" does not have")[0] for text in texts if "deterministic" in text)


def check_resume(setting: ProofSetting) -> dict[str, Any]:
    """Interrupt a training in the middle of an epoch, continue it from its snapshot, and compare the weights."""
    results: dict[str, Any] = {}
    for precision in setting.precisions:
        with use_deterministic_kernels() as missing:
            whole = _train(setting, precision, f"whole-{precision}")
            again = _train(setting, precision, f"again-{precision}")
            resumed = _train_in_two_parts(setting, precision)
        results[precision] = {
            "is_resume_exact": resumed == whole,
            "is_repeat_exact": again == whole,
            "not_deterministic": missing,
        }
    return results


def _build(setting: ProofSetting, precision: Precision) -> Run:
    return build_run(setting.build_spec(dataset=AUGMENTED), setting.packed, setting.build_placement(precision))


def _hash(setting: ProofSetting, run: Run, name: str) -> str:
    return write_weights(setting.folder / f"{name}.safetensors", run.network)


def _train(setting: ProofSetting, precision: Precision, name: str) -> str:
    run = _build(setting, precision)
    run.build_loop().fit(run.state)
    return _hash(setting, run, name)


def _train_in_two_parts(setting: ProofSetting, precision: Precision) -> str:
    first, folder = _build(setting, precision), setting.folder / f"snapshot-{precision}"
    first.build_loop((InterruptAfter(first.state.steps_per_epoch // 2 + 1),)).fit(first.state)
    snapshot.write_snapshot(folder, first.network, first.stateful_parts(), {})
    second = _build(setting, precision)
    snapshot.restore_snapshot(folder, second.network, second.stateful_parts(), second.placement.device)
    second.build_loop().fit(second.state)
    return _hash(setting, second, f"resumed-{precision}")


def check_precisions(setting: ProofSetting) -> dict[str, Any]:
    """Train with each precision, and report the last losses: they must be near that of fp32."""
    losses = {}
    for precision in setting.precisions:
        run = _build(setting, precision)
        run.build_loop().fit(run.state)
        losses[precision] = round(run.state.metrics["train_loss"], 4)
    differences = {name: round(loss - losses["fp32"], 4) for name, loss in losses.items()}
    is_near = {f"is_{name}_near_fp32": abs(value) < MAX_PRECISION_DIFFERENCE for name, value in differences.items()}
    return {"train_loss": losses, "differences": differences, **is_near}


def check_memory(setting: ProofSetting) -> dict[str, Any]:
    """Report the memory of the device before, during and after a training whose objects are deleted."""
    if setting.device.type != "cuda":
        return {"skipped": "requires CUDA"}
    _release()
    before = torch.cuda.memory_allocated(setting.device)
    torch.cuda.reset_peak_memory_stats(setting.device)
    run = _build(setting, "bf16")
    is_resident = isinstance(run.train_batches, DeviceResidentDataLoader)
    run.build_loop().fit(run.state)
    peak = torch.cuda.max_memory_allocated(setting.device)
    del run
    _release()
    after = torch.cuda.memory_allocated(setting.device)
    return {
        "is_dataset_on_device": is_resident,
        "before_bytes": before,
        "peak_bytes": peak,
        "after_bytes": after,
        "is_released": after <= before,
        "reserved_after_bytes": torch.cuda.memory_reserved(setting.device),
    }


def _release() -> None:
    gc.collect()
    torch.cuda.empty_cache()


def check_data_parallel(setting: ProofSetting) -> dict[str, Any]:
    """Train with one and with all devices through torch's launcher, and compare the last losses.

    Without batch norm and dropout, whose results depend on the shard, both differ by rounding only.
    """
    from benchmarks.gpu_proof.launching import run_trainer

    count = torch.cuda.device_count() if setting.device.type == "cuda" else 2
    if count < 2:
        return {"skipped": f"requires at least two devices; there is {count}"}
    device = setting.device.type
    setting.packed  # noqa: B018 - writes the dataset that the trainers open
    losses = {number: run_trainer(setting, _build_parallel_spec(setting, device, number)) for number in (1, count)}
    difference = abs(losses[count] - losses[1])
    is_near = difference < MAX_PARALLEL_DIFFERENCE
    return {"devices": count, "last_train_loss": losses, "difference": difference, "is_loss_near": is_near}


def _build_parallel_spec(setting: ProofSetting, device: str, num_devices: int) -> JobSpec:
    network = {"name": "convnet", "channels": [8, 16], "head": [16]}
    resources = {"devices": num_devices}
    return setting.build_spec(architecture=network, epochs=1, device=device, precision="fp32", resources=resources)
