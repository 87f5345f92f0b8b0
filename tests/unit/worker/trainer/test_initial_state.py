"""A training that begins with a checkpoint of another one, as the trainer does it."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from core.spec import ANY_JOB
from tests.support.trainer import build_start
from tests.support.training import RecordingChannel, build_spec, pack
from worker.engine import snapshot
from worker.engine.snapshot_checksums import format_folder_name
from worker.protocol import (
    EXIT_STOPPED,
    CheckpointWritten,
    JobCompleted,
    Log,
    RunFailed,
    RunStarted,
    RunStopped,
    TrainingFinished,
)
from worker.trainer import main

SOURCE = "0" * 32
WHOLE: dict[str, Any] = {"optimizer": True, "callbacks": True, "records": True}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "it"
    pack(folder, num_samples=90)
    return folder


@pytest.fixture(scope="module")
def checkpoint(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the second epoch of a job, of 5 steps each."""
    work, channel = tmp_path_factory.mktemp("source") / "work", RecordingChannel()
    spec = build_spec(callbacks=[{"name": "early_stopping"}, {"name": "ema", "decay": 0.9}])
    assert main.run_job(build_start(spec, dataset, work), channel) == 0
    return Path(channel.select_messages(CheckpointWritten)[-1].dir)


def begin(
    dataset: Path, checkpoint: Path, work: Path, asked: Any = None, **changes: Any
) -> tuple[int, RecordingChannel]:
    resume_from = {"job": SOURCE, "checkpoint": 2, **changes.pop("resume_from", {})}
    channel = RecordingChannel()
    channel.stop_mode = asked
    spec = build_spec(**{"callbacks": [{"name": "early_stopping"}], "resume_from": resume_from} | changes)
    return main.run_job(build_start(spec, dataset, work, initial_checkpoint_dir=str(checkpoint)), channel), channel


def runtime(channel: RecordingChannel) -> dict[str, Any]:
    started: RunStarted = channel.select_messages(RunStarted)[0]
    return started.runtime


def test_weights_alone_are_taken_unless_more_is_asked_for(dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    status, channel = begin(dataset, checkpoint, tmp_path / "work", epochs=1, optimizer={"name": "sgd", "lr": 1e-12})
    assert status == 0
    told = runtime(channel)
    assert told["begun"] == {"job": SOURCE, "checkpoint": 2, "epoch": 2, "step": 10, "went_on": ["model"]}
    assert (told["init"]["missing"], told["init"]["mismatched"]) == ([], [])
    (finished,) = channel.select_messages(TrainingFinished)
    before, after = (load_file(Path(folder) / "weights.safetensors") for folder in (checkpoint, finished.dir))
    assert all(before[name].allclose(after[name]) for name in before if name.endswith("weight"))
    assert {step for _, _, step in channel.collect_points()} == {1, 2, 3, 4, 5}


def test_all_that_is_asked_for_goes_on(dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"epochs": 3, "callbacks": [{"name": "early_stopping"}, {"name": "ema", "decay": 0.9}]}
    status, channel = begin(dataset, checkpoint, tmp_path / "work", resume_from=WHOLE, **changes)
    assert status == 0
    assert runtime(channel)["begun"]["went_on"] == ["model", "optimizer", "EarlyStopping", "Ema", "records"]
    assert {step for _, _, step in channel.collect_points()} == {11, 12, 13, 14, 15}
    assert [said.epoch for said in channel.select_messages(CheckpointWritten)] == [3]


def test_another_network_takes_what_fits_and_names_the_rest(dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    wider = {"name": "convnet", "channels": [8, 16], "batch_norm": True, "dropout": 0.2, "head": [24]}
    status, channel = begin(dataset, checkpoint, tmp_path / "work", epochs=1, architecture=wider)
    assert status == 0
    init = runtime(channel)["init"]
    assert "head.0.weight" in init["mismatched"] or init["mismatched"]
    assert any("mismatched" in log.message for log in channel.select_messages(Log))
    status, channel = begin(dataset, checkpoint, tmp_path / "other", architecture={"name": "mlp", "hidden": [7]})
    assert (status, channel.select_messages(RunFailed)[0].code) == (1, "invalid_spec")


def test_one_that_is_left_goes_on_from_its_own_checkpoint_and_remembers(
    dataset: Path, checkpoint: Path, tmp_path: Path
) -> None:
    status, channel = begin(dataset, checkpoint, tmp_path / "work", asked="pause", resume_from=WHOLE, epochs=4)
    assert status == EXIT_STOPPED
    assert channel.select_messages(RunStopped)
    own = Path(channel.select_messages(CheckpointWritten)[-1].dir)
    assert snapshot.read_metadata(own)["begun"]["checkpoint"] == 2
    spec = build_spec(
        epochs=4, callbacks=[{"name": "early_stopping"}], resume_from={"job": SOURCE, "checkpoint": 2, **WHOLE}
    )
    again = RecordingChannel()
    assert main.run_job(build_start(spec, dataset, tmp_path / "again", resume_dir=str(own)), again) == 0
    assert runtime(again)["begun"] == runtime(channel)["begun"]
    assert max(step for _, _, step in again.collect_points()) == 20


def test_a_sweep_begins_there_too(dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    losses = []
    for name, changes in (("fresh", {"resume_from": None}), ("begun", {})):
        spec = build_spec(**{"resume_from": {"job": SOURCE, "checkpoint": 2}} | changes).model_dump(mode="json")
        asked = ANY_JOB.validate_python(spec | {"kind": "lr_find", "steps": 5})
        channel = RecordingChannel()
        order = build_start(
            asked, dataset, tmp_path / name, initial_checkpoint_dir=str(checkpoint) if changes == {} else None
        )
        assert main.run_job(order, channel) == 0
        losses.append(channel.select_messages(JobCompleted)[0].result["points"][0]["loss"])
    assert losses[1] < losses[0]


def test_a_checkpoint_that_is_damaged_fails_the_job(dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    damaged = tmp_path / format_folder_name(2, 10, "end")
    damaged.mkdir()
    for file in checkpoint.iterdir():
        (damaged / file.name).write_bytes(
            file.read_bytes()[:-5] if file.name.startswith("state") else file.read_bytes()
        )
    status, channel = begin(dataset, damaged, tmp_path / "work", resume_from={"optimizer": True})
    assert (status, channel.select_messages(RunFailed)[0].code) == (1, "checkpoint_corrupt")
