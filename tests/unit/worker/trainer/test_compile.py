"""A compiled network trains like one that is not, and leaves the same checkpoints."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.support.trainer import build_start
from tests.support.training import RecordingChannel, build_spec, pack
from worker.engine import device
from worker.protocol import TRAINER_MESSAGES, CheckpointWritten, Log, RunFailed, TrainingFinished
from worker.trainer import main

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


def names(folder: str) -> set[str]:
    with safe_open(Path(folder) / "weights.safetensors", "pt") as file:
        return set(file.keys())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not any(map(shutil.which, device.COMPILERS)), reason="there is no C++ compiler")
def test_a_compiled_network_has_the_curve_and_the_names_of_one_that_is_not(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(build_spec(**SPEC, compile=True).model_dump_json())
    command = [sys.executable, "-m", "worker.trainer", "--spec", str(tmp_path / "spec.json")]
    places = ["--dataset-dir", str(dataset), "--work-dir", str(tmp_path / "compiled")]
    environment = os.environ | {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
    done = subprocess.run([*command, *places], env=environment, capture_output=True, timeout=800)
    assert done.returncode == 0, done.stdout.decode()[-3000:] + done.stderr.decode()[-3000:]
    compiled, eager = RecordingChannel(), RecordingChannel()
    for line in done.stdout.splitlines():
        compiled.send(TRAINER_MESSAGES.validate_json(line))
    assert main.run_job(build_start(build_spec(**SPEC), dataset, tmp_path / "eager"), eager) == 0
    assert compiled.collect_points() == {
        place: pytest.approx(value, abs=1e-4) for place, value in eager.collect_points().items()
    }
    told = [message.message for message in compiled.select_messages(Log)]
    assert [text.partition(" took ")[0] for text in told] == [
        "The first training step",
        "The first validation batch",
    ]
    first = compiled.select_messages(CheckpointWritten)[0]
    assert names(first.dir) == names(eager.select_messages(CheckpointWritten)[0].dir)
    again = RecordingChannel()
    assert main.run_job(build_start(build_spec(**SPEC), dataset, tmp_path / "again", resume_dir=first.dir), again) == 0
    bundle = json.loads((Path(again.select_messages(TrainingFinished)[0].dir) / "bundle.json").read_text())
    assert bundle["lineage"]["spec"]["compile"] is False


def test_without_a_compiler_it_is_refused(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("CXX", "icpx")
    channel = RecordingChannel()
    assert main.run_job(build_start(build_spec(**SPEC, compile=True), dataset, tmp_path / "work"), channel) == 1
    (failed,) = channel.select_messages(RunFailed)
    assert failed.code == "invalid_spec"
    assert failed.message == "'compile' requires a C++ compiler; this machine has none of icpx, g++, clang++, c++"
