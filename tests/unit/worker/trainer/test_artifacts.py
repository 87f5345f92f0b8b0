"""Files of callbacks, and files that cannot be written."""

import csv
import hashlib
import io
import json
from pathlib import Path

import pytest

from tests.support.trainer import build_start, run_job
from tests.support.training import RecordingChannel, build_spec, pack, read_artifacts
from worker.protocol import ArtifactWritten, CheckpointWritten, Log, TrainingFinished
from worker.trainer.artifacts import Artifacts

LOGGERS = [{"name": "csv_logger"}, {"name": "tensorboard", "histograms": ["*.weight"]}]


def test_artifact_is_alone_in_its_folder_and_has_a_digest(tmp_path: Path) -> None:
    channel = RecordingChannel()
    artifacts = Artifacts(channel, tmp_path / "files")
    artifacts.save("a.csv", "text/csv", b"one")
    artifacts.save("a.csv", "text/csv", b"two", is_optional=False)
    first, second = channel.select_messages(ArtifactWritten)
    assert first.dir != second.dir
    assert [path.name for path in Path(second.dir).iterdir()] == ["a.csv"]
    assert (Path(second.dir) / "a.csv").read_bytes() == b"two"
    assert (second.sha256, second.size_bytes) == (hashlib.sha256(b"two").hexdigest(), 3)
    assert (first.is_optional, second.is_optional) == (True, False)


def test_resumed_training_writes_the_same_metrics_file(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(epochs=3, callbacks=LOGGERS)
    status, uninterrupted = run_job(build_start(spec, dataset, tmp_path / "whole"))
    assert status == 0, uninterrupted.messages[-2:]
    first = uninterrupted.select_messages(CheckpointWritten)[0].dir
    status, resumed = run_job(build_start(spec, dataset, tmp_path / "rest", resume_dir=first))
    assert status == 0, resumed.messages[-2:]
    assert read_artifacts(resumed)["metrics.csv"] == read_artifacts(uninterrupted)["metrics.csv"]
    assert read_artifacts(uninterrupted)["metrics.csv"].count(b"\n") == 1 + 2 * 3
    assert len(read_artifacts(uninterrupted)["events.out.tfevents.candela"]) == len(
        read_artifacts(resumed)["events.out.tfevents.candela"]
    )


def test_artifact_that_cannot_be_written_is_a_warning_and_changes_no_weight(dataset: Path, tmp_path: Path) -> None:
    _, plain = run_job(build_start(build_spec(), dataset, tmp_path / "plain"))
    start = build_start(build_spec(callbacks=LOGGERS), dataset, tmp_path / "work")
    (tmp_path / "work" / "artifacts").write_text("this file prevents the folder")
    status, channel = run_job(start)
    assert status == 0, channel.messages[-2:]
    first, second = (each.select_messages(TrainingFinished)[0].files for each in (channel, plain))
    assert first["weights.safetensors"] == second["weights.safetensors"]
    assert not channel.select_messages(ArtifactWritten)
    warnings = [message.message for message in channel.select_messages(Log) if message.level == "warning"]
    assert warnings.pop().startswith("The learning curve could not be drawn: ")
    assert [text.split()[0] for text in warnings] == ["CsvLogger", "TensorBoard"]  # once each, at the first epoch's end
    assert all("is disabled; the run continues" in text for text in warnings)
    status, resumed = run_job(
        build_start(
            build_spec(callbacks=LOGGERS),
            dataset,
            tmp_path / "r",
            resume_dir=channel.select_messages(CheckpointWritten)[0].dir,
        )
    )
    assert status == 0
    (curve,) = resumed.select_messages(ArtifactWritten)  # disabled callbacks stay disabled
    assert curve.name == "learning_curve.png"


@pytest.mark.parametrize("task", ["classification", "binary", "multilabel", "regression"])
def test_every_task_writes_its_worst_samples(task: str, tmp_path: Path) -> None:
    packed = pack(tmp_path / "it", task=task, num_samples=40)
    callbacks = [{"name": "worst_samples", "count": 3}]
    callbacks += [] if task == "regression" else [{"name": "confusion_matrix"}]
    status, channel = run_job(
        build_start(build_spec(epochs=2, metrics=None, callbacks=callbacks), tmp_path / "it", tmp_path / "work")
    )
    assert status == 0, channel.messages[-2:]
    artifacts = read_artifacts(channel)
    rows = list(csv.DictReader(io.StringIO(artifacts["worst_samples.csv"].decode())))
    assert len(rows) == 3
    assert artifacts["worst_samples.png"].startswith(b"\x89PNG")
    for row in rows:
        assert packed.read_split(row["split"]).names[int(row["index"])] == row["name"]
    document = json.loads(artifacts["worst_samples.json"])
    assert [sample["index"] for sample in document["samples"]] == [int(row["index"]) for row in rows]
    losses = [float(row["loss"]) for row in rows]
    assert losses == sorted(losses, reverse=True)
    if task == "regression":
        return
    table = list(csv.reader(io.StringIO(artifacts["confusion_matrix.csv"].decode())))[1:]
    matrix = json.loads(artifacts["confusion_matrix.json"])
    names = packed.read_split(matrix["split"]).names
    found = [sample for cell in matrix["cells"] for sample in cell["samples"]]
    assert all(names[sample["index"]] == sample["name"] for sample in found)
    num_decisions = sum(int(cell) for row in table for cell in row[1:])
    assert len(found) == num_decisions
    assert num_decisions == 4 * (len(packed.meta.classes) if task == "multilabel" else 1)  # 4 validation samples
