"""Checkpoints of a run."""

from pathlib import Path

from models import bundle
from tests.support.trainer import build_start, run_job
from tests.support.training import RecordingChannel, build_spec
from worker.protocol import CheckpointWritten, Metrics, TrainingFinished
from worker.trainer import main


def test_every_epoch_writes_a_checkpoint_with_its_tags(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(epochs=3, callbacks=[{"name": "model_checkpoint", "every_epochs": 2}])
    _, channel = run_job(build_start(spec, dataset, tmp_path / "work"))
    checkpoints = channel.select_messages(CheckpointWritten)
    assert [checkpoint.epoch for checkpoint in checkpoints] == [1, 2, 3]
    assert "best" in checkpoints[0].tags
    assert ["kept" in checkpoint.tags for checkpoint in checkpoints] == [False, True, False]
    for checkpoint in checkpoints:
        for name, file in checkpoint.files.items():
            path = Path(checkpoint.dir) / name
            assert (bundle.compute_sha256(path), path.stat().st_size) == (file.sha256, file.size_bytes)
    network, description = bundle.load_bundle(Path(checkpoints[-1].dir))  # a checkpoint is also a bundle
    assert (description.num_outputs, network.training) == (3, False)


def test_points_arrive_before_their_checkpoint(dataset: Path, tmp_path: Path) -> None:
    _, channel = run_job(build_start(build_spec(), dataset, tmp_path / "work"))
    seen: set[int] = set()
    for message in channel.messages:
        if isinstance(message, Metrics):
            seen |= {point.step for point in message.points if point.name == "step_loss"}
        if isinstance(message, CheckpointWritten):
            assert max(seen) >= message.step  # it is written while the training continues


def test_snapshots_within_an_epoch_can_be_resumed(dataset: Path, tmp_path: Path) -> None:
    uninterrupted = RecordingChannel()
    main.run_job(build_start(build_spec(), dataset, tmp_path / "a"), uninterrupted)
    frequent = RecordingChannel()
    main.run_job(build_start(build_spec(), dataset, tmp_path / "b"), frequent, snapshot_every_s=0.0)
    assert len(frequent.select_messages(CheckpointWritten)) > len(uninterrupted.select_messages(CheckpointWritten))
    middle = [checkpoint for checkpoint in frequent.select_messages(CheckpointWritten) if checkpoint.step % 5][-1]
    _, resumed = run_job(build_start(build_spec(), dataset, tmp_path / "c", resume_dir=middle.dir))
    hashes = {
        channel.select_messages(TrainingFinished)[0].files["weights.safetensors"].sha256
        for channel in (uninterrupted, frequent, resumed)
    }
    assert len(hashes) == 1


def test_checkpoint_of_an_epoch_lists_the_retained_epochs(dataset: Path, tmp_path: Path) -> None:
    callbacks = [{"name": "model_checkpoint", "keep": 2}, {"name": "model_checkpoint", "every_epochs": 3}]
    spec = build_spec(epochs=4, callbacks=callbacks)
    _, uninterrupted = run_job(build_start(spec, dataset, tmp_path / "uninterrupted"))
    checkpoints = uninterrupted.select_messages(CheckpointWritten)
    retained = [checkpoint.retained_epochs for checkpoint in checkpoints]
    assert retained == [(1,), (1, 2), (2, 3), (3, 4)]
    _, resumed = run_job(build_start(spec, dataset, tmp_path / "resumed", resume_dir=checkpoints[1].dir))
    assert [message.retained_epochs for message in resumed.select_messages(CheckpointWritten)] == retained[2:]
    _, paused = run_job(build_start(spec, dataset, tmp_path / "paused", resume_dir=checkpoints[1].dir), "pause")
    assert [message.retained_epochs for message in paused.select_messages(CheckpointWritten)] == [None]
