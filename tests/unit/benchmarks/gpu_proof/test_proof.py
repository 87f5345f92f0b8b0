"""Tests of the GPU proof on the CPU, with small networks."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu_proof import proof
from benchmarks.gpu_proof.exactness import use_deterministic_kernels
from benchmarks.gpu_proof.setting import ProofSetting, summarize_ratios


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


@pytest.mark.slow
def test_serving_is_compared_with_the_raw_forward_pass(tmp_path: Path) -> None:
    status, sections = run_proof(tmp_path, "serving", "time_to_accuracy", "gpu_tests")
    assert status == 0
    for precision in ("fp32", "bf16"):
        result = sections["serving"][precision]
        assert result["share_of_raw"]["min"] <= result["share_of_raw"]["median"] <= result["share_of_raw"]["max"]
        assert set(result["single_image_ms"]) == {"predictor", "raw"}
    assert sections["time_to_accuracy"]["skipped"].startswith("requires --cifar-dir")


@pytest.mark.slow
def test_two_ranks_have_the_loss_of_one(tmp_path: Path) -> None:
    status, sections = run_proof(tmp_path, "data_parallel")
    assert status == 0
    assert sections["data_parallel"]["difference"] < 1e-4


@pytest.mark.slow
def test_training_is_compared_with_the_raw_step(tmp_path: Path) -> None:
    status, sections = run_proof(tmp_path, "training")
    assert status == 0
    assert set(sections["training"]["ratios"]) == {
        "engine fp32 over raw step fp32",
        "engine bf16 over raw step bf16",
        "engine bf16 over plain loop fp32",
        "engine bf16 compiled over engine bf16",
    }


def test_failed_section_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: ProofSetting) -> dict[str, Any]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setitem(proof.SECTIONS, "resume", fail)
    status, sections = run_proof(tmp_path, "resume", "memory")
    assert status == 1
    assert "illegal memory access" in sections["resume"]["error"]
    assert sections["memory"]["skipped"] == "requires CUDA"


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
