"""Trainings with a compiled network."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.support.trainer import build_start, run_command, run_job, run_to_failure
from tests.support.training import build_spec, pack
from worker.engine import device
from worker.protocol import CheckpointWritten, Log, TrainingFinished

SPEC = {
    "architecture": {"name": "mlp", "hidden": [8]},
    "optimizer": {"name": "sgd", "lr": 0.1},  # Adam amplifies the rounding errors of gradients near 0
    "epochs": 2,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "it"
    pack(folder, num_samples=96)
    return folder


def read_weight_names(folder: str) -> set[str]:
    with safe_open(Path(folder) / "weights.safetensors", "pt") as file:
        return set(file.keys())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not any(map(shutil.which, device.COMPILERS)), reason="a C++ compiler is not installed")
def test_compiled_network_has_the_curve_and_weight_names_of_an_eager_one(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(build_spec(**SPEC, compile=True).model_dump_json())
    compiled = run_command(tmp_path / "spec.json", dataset, tmp_path / "compiled", TORCHINDUCTOR_COMPILE_THREADS="1")
    status, eager = run_job(build_start(build_spec(**SPEC), dataset, tmp_path / "eager"))
    assert status == 0
    expected = {point: pytest.approx(value, abs=1e-4) for point, value in eager.collect_points().items()}
    assert compiled.collect_points() == expected
    assert [log.message.partition(" took ")[0] for log in compiled.select_messages(Log)] == [
        "The first training step",
        "The first validation batch",
    ]
    first = compiled.select_messages(CheckpointWritten)[0]
    assert read_weight_names(first.dir) == read_weight_names(eager.select_messages(CheckpointWritten)[0].dir)
    status, resumed = run_job(build_start(build_spec(**SPEC), dataset, tmp_path / "resumed", resume_dir=first.dir))
    assert status == 0
    bundle = json.loads((Path(resumed.select_messages(TrainingFinished)[0].dir) / "bundle.json").read_text())
    assert bundle["lineage"]["spec"]["compile"] is False


def test_compile_requires_a_compiler(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("CXX", "icpx")
    failed = run_to_failure(build_start(build_spec(**SPEC, compile=True), dataset, tmp_path / "work"))
    assert failed.code == "invalid_spec"
    assert failed.message == "'compile' requires a C++ compiler; this machine has none of icpx, g++, clang++, c++"
