"""Tests of the GPU proof on the CPU, with small networks."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from benchmarks.gpu_proof import accuracy, proof, speed
from benchmarks.gpu_proof.exactness import use_deterministic_kernels
from benchmarks.gpu_proof.setting import TINY_NETWORK, ProofSetting, summarize_ratios
from core.datasets.packed_writer import PackedWriter


def run_proof(tmp_path: Path, *sections: str) -> tuple[int, dict[str, Any]]:
    out, threads = tmp_path / "report.json", torch.get_num_threads()
    chosen = [word for section in sections for word in ("--section", section)]
    try:
        status = proof.main(["--device", "cpu", "--tiny", "--out", str(out), *chosen])
    finally:
        torch.set_num_threads(threads)
    return status, json.loads(out.read_text())["sections"]


@pytest.mark.slow
def test_resume_is_exact_in_every_precision(tmp_path: Path) -> None:
    status, sections = run_proof(tmp_path, "resume", "precisions", "memory")
    assert status == 0
    for precision in ("fp32", "bf16"):
        result = sections["resume"][precision]
        assert (result["is_resume_exact"], result["is_repeat_exact"], result["not_deterministic"]) == (True, True, [])
        assert abs(sections["precisions"]["differences"][precision]) < 0.5
    assert sections["memory"]["skipped"] == "requires CUDA"


class FixedClock:
    """Replaces the clock: a side whose function has one of the names takes its seconds, every other one 1 s."""

    def __init__(self, **seconds: float) -> None:
        self._seconds = seconds

    def measure_s(self, work: Callable[[], Any]) -> float:
        work()
        return self._seconds.get(work.__name__, 1.0)


@pytest.fixture
def setting(tmp_path: Path) -> ProofSetting:
    return ProofSetting(torch.device("cpu"), True, tmp_path, None, deadline_s=math.inf)


@pytest.mark.slow
def test_serving_is_compared_with_the_raw_forward_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FixedClock(run_forward=0.5)
    monkeypatch.setattr(ProofSetting, "measure_s", lambda _, work: clock.measure_s(work))
    status, sections = run_proof(tmp_path, "serving", "time_to_accuracy", "gpu_tests")
    assert status == 0
    for precision in ("fp32", "bf16"):
        result = sections["serving"][precision]
        assert result["share_of_raw"] == {"min": 0.5, "median": 0.5, "max": 0.5}
        assert result["images_per_s"]["raw"]["median"] == 2 * result["images_per_s"]["predictor"]["median"] == 16
        assert [times["median"] for times in result["single_image_ms"].values()] == [1000, 500]
    assert sections["time_to_accuracy"]["skipped"].startswith("requires --cifar-dir")


@pytest.mark.slow
def test_two_ranks_have_the_loss_of_one(tmp_path: Path) -> None:
    status, sections = run_proof(tmp_path, "data_parallel")
    assert status == 0
    assert sections["data_parallel"]["difference"] < 1e-4


@pytest.mark.slow
def test_training_is_compared_with_the_raw_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FixedClock(run_steps=0.5, run_epoch=2.0)
    monkeypatch.setattr(ProofSetting, "measure_s", lambda _, work: clock.measure_s(work))
    status, sections = run_proof(tmp_path, "training")
    assert status == 0
    medians = {name: ratio["median"] for name, ratio in sections["training"]["ratios"].items()}
    assert medians == {
        "engine fp32 over raw step fp32": 0.25,
        "engine bf16 over raw step bf16": 0.25,
        "engine bf16 over plain loop fp32": 1.0,
        "engine bf16 compiled over engine bf16": 1.0,
    }
    assert sections["training"]["images_per_s"]["engine fp32"]["median"] == 16 * (270 // 16) / 2


@pytest.mark.slow
def test_every_side_trains_the_same_images(setting: ProofSetting) -> None:
    sides = {
        "engine": speed._build_engine(setting, "fp32"),
        "raw step": speed._build_raw_step(setting, "fp32", channels_last=True),
        "plain loop": speed._build_plain_loop(setting),
    }
    assert {name: count_images(side) for name, side in sides.items()} == dict.fromkeys(sides, 16 * (270 // 16))
    assert speed.count_trained_images(setting) == 16 * (270 // 16)


def count_images(work: Callable[[], Any]) -> int:
    """Return how many images the first layer of the network sees."""
    counts = []

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], _: torch.Tensor) -> None:
        if isinstance(layer, nn.Conv2d) and layer.in_channels == 3:
            counts.append(len(inputs[0]))

    handle = register_module_forward_hook(count)
    work()
    handle.remove()
    return sum(counts)


def test_false_check_fails_the_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    resume = {"fp32": {"is_resume_exact": True}, "bf16": {"is_resume_exact": False, "is_repeat_exact": True}}
    monkeypatch.setitem(proof.SECTIONS, "resume", lambda _: resume)
    monkeypatch.setitem(proof.SECTIONS, "gpu_tests", lambda _: {"exit_status": 1})
    status, _ = run_proof(tmp_path, "resume", "gpu_tests")
    assert status == 1
    assert "Failed: resume.bf16.is_resume_exact, gpu_tests.exit_status." in capsys.readouterr().out


def write_images(folder: Path, **targets: int) -> Path:
    """Write a dataset with 40 images per split, which all have the target of their split."""
    writer = PackedWriter(folder, task="classification", classes=["a", "b"], num_outputs=2, image_shape=(3, 8, 8))
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    for split, target in targets.items():
        writer.append_chunk(split, images, np.full(40, target), [str(i) for i in range(40)])
    writer.finish_dataset()
    return folder


def test_time_to_accuracy_is_of_the_test_images(setting: ProofSetting, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = setting.folder / "recipe.json"
    body = {"dataset": {"name": "images", "valid": 0.1}, "architecture": TINY_NETWORK, "epochs": 6, "batch_size": 4}
    recipe.write_text(json.dumps(body | {"metrics": ["accuracy"], "optimizer": {"name": "sgd", "lr": 0.05}}))
    monkeypatch.setattr(accuracy, "RECIPE", recipe)
    folder = write_images(setting.folder / "images", train=0, test=1)
    result = accuracy.measure_time_to_accuracy(replace(setting, cifar_dir=folder))
    assert result["epochs"][-1]["test_accuracy"] == 0  # that of held-out training images is 1


def test_time_to_accuracy_requires_test_images(setting: ProofSetting) -> None:
    folder = write_images(setting.folder / "images", train=0)
    result = accuracy.measure_time_to_accuracy(replace(setting, cifar_dir=folder))
    assert result == {"skipped": "requires a dataset with the split test, not only ['train']"}


def test_failed_section_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: ProofSetting) -> dict[str, Any]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setitem(proof.SECTIONS, "resume", fail)
    status, sections = run_proof(tmp_path, "resume", "memory")
    assert status == 1
    assert "illegal memory access" in sections["resume"]["error"]
    assert sections["memory"]["skipped"] == "requires CUDA"


IMPORT_WITH_REQUIREMENTS = """
import sys
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from packaging.requirements import Requirement

def add(name, found):
    if (name := name.lower().replace("_", "-")) not in found and not found.add(name):
        for line in distribution(name).requires or ():
            if (each := Requirement(line)).marker is None or each.marker.evaluate({"extra": ""}):
                add(each.name, found)

lines = Path("benchmarks/gpu_proof/requirements.txt").read_text().splitlines()
available = set()
for name in ["torch", "numpy", "pillow", sys.argv[1], "safetensors", *(each for each in lines if each[0] != "#")]:
    add(name, available)
for package, owners in packages_distributions().items():
    if not available & {each.lower().replace("_", "-") for each in owners}:
        sys.modules[package] = None
import benchmarks.gpu_proof.proof
"""


@pytest.mark.slow
def test_proof_imports_only_what_its_requirements_name() -> None:
    opencv = packages_distributions()["cv2"][0]
    command = [sys.executable, "-c", IMPORT_WITH_REQUIREMENTS, opencv]
    done = subprocess.run(command, capture_output=True, text=True, cwd=proof.ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_no_section_starts_after_the_time_limit(tmp_path: Path) -> None:
    setting = ProofSetting(torch.device("cpu"), True, tmp_path, None, deadline_s=0.0)
    assert proof.run_sections(setting, ["memory"])["memory"]["skipped"] == "no time was left"


def test_operations_without_a_deterministic_kernel_are_named() -> None:
    with use_deterministic_kernels() as missing:
        torch.empty(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]), accumulate=False)
    assert missing
    assert not torch.are_deterministic_algorithms_enabled()


def test_ratio_compares_values_of_the_same_round() -> None:
    taken = {"engine": [1.0, 2.0, 1.0], "raw": [2.0, 2.0, 3.0]}
    assert summarize_ratios(taken, "engine", "raw") == {"min": 1.0, "median": 2.0, "max": 3.0}
