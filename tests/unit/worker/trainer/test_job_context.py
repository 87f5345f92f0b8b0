"""The dataset and the placement of a job."""

from pathlib import Path

from tests.support.trainer import build_start, run_job, run_to_failure
from tests.support.training import build_spec
from worker.protocol import CheckpointWritten, Log, RunStarted


def test_wrong_dataset_is_rejected(dataset: Path, tmp_path: Path) -> None:
    start = build_start(build_spec(), dataset, tmp_path / "a", dataset={"content_hash": "0" * 64})
    assert run_to_failure(start).code == "dataset_corrupt"
    (tmp_path / "empty").mkdir()
    assert run_to_failure(build_start(build_spec(), tmp_path / "empty", tmp_path / "b")).code == "dataset_corrupt"


def test_resumed_run_keeps_its_threads(dataset: Path, tmp_path: Path) -> None:
    _, first = run_job(build_start(build_spec(threads=1), dataset, tmp_path / "a"), stop_mode="pause")
    resume_dir = first.select_messages(CheckpointWritten)[-1].dir
    _, again = run_job(build_start(build_spec(threads=2), dataset, tmp_path / "b", resume_dir=resume_dir))
    assert again.select_messages(RunStarted)[0].runtime["threads"] == 1
    assert any("continues with 1 threads" in message.message for message in again.select_messages(Log))
