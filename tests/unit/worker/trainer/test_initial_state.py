"""Trainings that start from weights or from a checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.trainer import build_start, get_runtime, run_job
from tests.support.training import RecordingChannel, build_spec, pack
from worker.engine import snapshot
from worker.engine.snapshot_checksums import format_folder_name
from worker.protocol import (
    EXIT_STOPPED,
    CheckpointWritten,
    Log,
    Metrics,
    RunFailed,
    RunStarted,
    RunStopped,
    TrainingFinished,
)

SOURCE = "0" * 32
ALL_PARTS: dict[str, Any] = {"optimizer": True, "callbacks": True, "records": True}


def run_from_checkpoint(
    dataset: Path, checkpoint: Path, work_dir: Path, stop_mode: Any = None, **changes: Any
) -> tuple[int, RecordingChannel]:
    resume_from = {"job": SOURCE, "checkpoint": 2, **changes.pop("resume_from", {})}
    spec = build_spec(**{"callbacks": [{"name": "early_stopping"}], "resume_from": resume_from} | changes)
    return run_job(build_start(spec, dataset, work_dir, initial_checkpoint_dir=str(checkpoint)), stop_mode)


def test_training_starts_from_the_weights_of_a_model(
    large_dataset: Path, trained: TrainingFinished, tmp_path: Path
) -> None:
    start = build_start(build_spec(epochs=1), large_dataset, tmp_path / "w", model_dir=trained.dir)
    status, channel = run_job(start)
    assert status == 0
    init = channel.select_messages(RunStarted)[0].runtime["init"]
    assert set(init["loaded"]) == set(load_file(f"{trained.dir}/weights.safetensors"))
    assert init["missing"] == init["unexpected"] == init["mismatched"] == []


def test_head_for_other_classes_is_not_loaded(trained: TrainingFinished, tmp_path: Path) -> None:
    pack(tmp_path / "five", num_samples=60, num_classes=5)
    start = build_start(build_spec(epochs=1), tmp_path / "five", tmp_path / "w", model_dir=trained.dir)
    status, channel = run_job(start)
    assert status == 0
    assert channel.select_messages(RunStarted)[0].runtime["init"]["mismatched"]
    assert any("mismatched" in line.message for line in channel.select_messages(Log) if line.level == "warning")


def test_weights_of_another_network_are_rejected(large_dataset: Path, tmp_path: Path) -> None:
    save_file({"nothing.like.it": torch.zeros(3)}, tmp_path / "w.safetensors")
    start = build_start(
        build_spec(weights="file:w.safetensors"),
        large_dataset,
        tmp_path / "w",
        weights_path=f"{tmp_path}/w.safetensors",
    )
    _, channel = run_job(start)
    assert channel.select_messages(RunFailed)[0].code == "invalid_spec"


def test_invalid_weights_file_is_rejected(large_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"not a weights file")
    start = build_start(build_spec(), large_dataset, tmp_path / "w", weights_path=f"{tmp_path}/w.safetensors")
    _, channel = run_job(start)
    assert channel.select_messages(RunFailed)[0].code == "invalid_spec"
    assert "cannot be read" in channel.select_messages(RunFailed)[0].message


def test_default_is_to_load_only_weights(dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    status, channel = run_from_checkpoint(
        dataset, checkpoint, tmp_path / "work", epochs=1, optimizer={"name": "sgd", "lr": 1e-12}
    )
    assert status == 0
    runtime = get_runtime(channel)
    assert runtime["begun"] == {"job": SOURCE, "checkpoint": 2, "epoch": 2, "step": 10, "went_on": ["model"]}
    assert (runtime["init"]["missing"], runtime["init"]["mismatched"]) == ([], [])
    (finished,) = channel.select_messages(TrainingFinished)
    before, after = (load_file(Path(folder) / "weights.safetensors") for folder in (checkpoint, finished.dir))
    assert all(before[name].allclose(after[name]) for name in before if name.endswith("weight"))
    assert {step for _, _, step in channel.collect_points()} == {1, 2, 3, 4, 5}


def test_requested_parts_are_restored(dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"epochs": 3, "callbacks": [{"name": "early_stopping"}, {"name": "ema", "decay": 0.9}]}
    status, channel = run_from_checkpoint(dataset, checkpoint, tmp_path / "work", resume_from=ALL_PARTS, **changes)
    assert status == 0
    assert get_runtime(channel)["begun"]["went_on"] == ["model", "optimizer", "EarlyStopping", "Ema", "records"]
    assert {step for _, _, step in channel.collect_points()} == {11, 12, 13, 14, 15}
    assert [message.epoch for message in channel.select_messages(CheckpointWritten)] == [3]


def test_another_network_loads_matching_weights_and_logs_the_others(
    dataset: Path, checkpoint: Path, tmp_path: Path
) -> None:
    wider = {"name": "convnet", "channels": [8, 16], "batch_norm": True, "dropout": 0.2, "head": [24]}
    status, channel = run_from_checkpoint(dataset, checkpoint, tmp_path / "work", epochs=1, architecture=wider)
    assert status == 0
    init = get_runtime(channel)["init"]
    assert init["mismatched"]
    assert any("mismatched" in log.message for log in channel.select_messages(Log))
    status, channel = run_from_checkpoint(
        dataset, checkpoint, tmp_path / "other", architecture={"name": "mlp", "hidden": [7]}
    )
    assert (status, channel.select_messages(RunFailed)[0].code) == (1, "invalid_spec")


def test_paused_run_resumes_from_its_checkpoint_and_keeps_its_source(
    dataset: Path, checkpoint: Path, tmp_path: Path
) -> None:
    status, channel = run_from_checkpoint(
        dataset, checkpoint, tmp_path / "work", stop_mode="pause", resume_from=ALL_PARTS, epochs=4
    )
    assert status == EXIT_STOPPED
    assert channel.select_messages(RunStopped)
    snapshot_dir = Path(channel.select_messages(CheckpointWritten)[-1].dir)
    assert snapshot.read_metadata(snapshot_dir)["begun"]["checkpoint"] == 2
    spec = build_spec(
        epochs=4, callbacks=[{"name": "early_stopping"}], resume_from={"job": SOURCE, "checkpoint": 2, **ALL_PARTS}
    )
    status, resumed = run_job(build_start(spec, dataset, tmp_path / "resumed", resume_dir=str(snapshot_dir)))
    assert status == 0
    assert get_runtime(resumed)["begun"] == get_runtime(channel)["begun"]
    assert max(step for _, _, step in resumed.collect_points()) == 20


def test_damaged_checkpoint_fails_the_job(dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    damaged = tmp_path / format_folder_name(2, 10, "end")
    damaged.mkdir()
    for file in checkpoint.iterdir():
        (damaged / file.name).write_bytes(
            file.read_bytes()[:-5] if file.name.startswith("state") else file.read_bytes()
        )
    status, channel = run_from_checkpoint(dataset, damaged, tmp_path / "work", resume_from={"optimizer": True})
    assert (status, channel.select_messages(RunFailed)[0].code) == (1, "checkpoint_corrupt")


@pytest.mark.parametrize(("callbacks", "lr"), [(True, 0.002), (False, 0.01)])
def test_schedule_that_was_restored_at_its_end_is_reported(
    dataset: Path, tmp_path: Path, callbacks: bool, lr: float
) -> None:
    options: dict[str, Any] = {
        "schedule": {"name": "cosine", "eta_min": 0.002},
        "optimizer": {"name": "sgd", "lr": 0.01},
    }
    _, first = run_job(build_start(build_spec(epochs=2, **options), dataset, tmp_path / "a"))
    checkpoint = Path(first.select_messages(CheckpointWritten)[-1].dir)
    parts = {"resume_from": {"callbacks": callbacks}}
    status, channel = run_from_checkpoint(dataset, checkpoint, tmp_path / "b", epochs=4, **parts, **options)
    assert status == 0
    warnings = [line.message for line in channel.select_messages(Log) if line.level == "warning"]
    assert any("final learning rate, 0.002, is used" in text for text in warnings) == callbacks
    points = [point for message in channel.select_messages(Metrics) for point in message.points if point.name == "lr"]
    assert points[0].value == pytest.approx(lr)
    assert len({point.value for point in points}) == (1 if callbacks else 4)
