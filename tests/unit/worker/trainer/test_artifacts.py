"""Files that a training leaves, and one that cannot be written."""

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from core.spec import ANY_JOB
from tests.support.trainer import build_start
from tests.support.training import RecordingChannel, build_spec, pack
from worker.protocol import ArtifactWritten, CheckpointWritten, JobCompleted, Log, Start, TrainingFinished
from worker.trainer import main
from worker.trainer.artifacts import Artifacts

LOGGERS = [{"name": "csv_logger"}, {"name": "tensorboard", "histograms": ["*.weight"]}]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "it"
    pack(folder, num_samples=90)
    return folder


def run(order: Start, asked: Any = None) -> tuple[int, RecordingChannel]:
    channel = RecordingChannel()
    channel.stop_mode = asked
    return main.run_job(order, channel), channel


def last(channel: RecordingChannel) -> dict[str, bytes]:
    """What is left at the end, by name."""
    return {said.name: (Path(said.dir) / said.name).read_bytes() for said in channel.select_messages(ArtifactWritten)}


def test_a_file_is_alone_in_its_folder_and_of_its_hash(tmp_path: Path) -> None:
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


def test_a_killed_and_resumed_training_leaves_the_table_of_one_that_went_through(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(epochs=3, callbacks=LOGGERS)
    status, whole = run(build_start(spec, dataset, tmp_path / "whole"))
    assert status == 0, whole.messages[-2:]
    first = whole.select_messages(CheckpointWritten)[0].dir
    status, resumed = run(build_start(spec, dataset, tmp_path / "rest", resume_dir=first))
    assert status == 0, resumed.messages[-2:]
    assert last(resumed)["metrics.csv"] == last(whole)["metrics.csv"]
    assert last(whole)["metrics.csv"].count(b"\n") == 1 + 2 * 3
    assert len(last(whole)["events.out.tfevents.candela"]) == len(last(resumed)["events.out.tfevents.candela"])


def test_files_that_cannot_be_written_are_a_warning_and_change_no_weight(dataset: Path, tmp_path: Path) -> None:
    _, undisturbed = run(build_start(build_spec(), dataset, tmp_path / "plain"))
    order = build_start(build_spec(callbacks=LOGGERS), dataset, tmp_path / "work")
    (tmp_path / "work" / "artifacts").write_text("no folder can be made here")
    status, channel = run(order)
    assert status == 0, channel.messages[-2:]
    weights = [
        said.select_messages(TrainingFinished)[0].files["weights.safetensors"] for said in (channel, undisturbed)
    ]
    assert weights[0] == weights[1]
    assert not channel.select_messages(ArtifactWritten)
    warnings = [said.message for said in channel.select_messages(Log) if said.level == "warning"]
    assert [text.split()[0] for text in warnings] == ["CsvLogger", "TensorBoard"]  # once each, at the first epoch's end
    assert all("is disabled; the run continues" in text for text in warnings)
    status, resumed = run(
        build_start(
            build_spec(callbacks=LOGGERS),
            dataset,
            tmp_path / "r",
            resume_dir=channel.select_messages(CheckpointWritten)[0].dir,
        )
    )
    assert status == 0
    assert not resumed.select_messages(ArtifactWritten)  # what is off stays off


@pytest.mark.parametrize("task", ["classification", "binary", "multilabel", "regression"])
def test_every_task_leaves_its_worst_samples(task: str, tmp_path: Path) -> None:
    packed = pack(tmp_path / "it", task=task, num_samples=40)
    asked = [{"name": "worst_samples", "count": 3}]
    asked += [] if task == "regression" else [{"name": "confusion_matrix"}]
    status, channel = run(
        build_start(build_spec(epochs=2, metrics=None, callbacks=asked), tmp_path / "it", tmp_path / "work")
    )
    assert status == 0, channel.messages[-2:]
    left = last(channel)
    rows = list(csv.DictReader(io.StringIO(left["worst_samples.csv"].decode())))
    assert len(rows) == 3
    assert left["worst_samples.png"].startswith(b"\x89PNG")
    for row in rows:
        assert packed.read_split(row["split"]).names[int(row["index"])] == row["name"]
    losses = [float(row["loss"]) for row in rows]
    assert losses == sorted(losses, reverse=True)
    if task == "regression":
        return
    table = list(csv.reader(io.StringIO(left["confusion_matrix.csv"].decode())))[1:]
    num_decisions = sum(int(cell) for row in table for cell in row[1:])
    assert num_decisions == 4 * (len(packed.meta.classes) if task == "multilabel" else 1)  # 4 samples are held out


def test_the_curve_of_learning_rates_is_left_as_numbers_and_an_image(dataset: Path, tmp_path: Path) -> None:
    spec = ANY_JOB.validate_python(build_spec().model_dump(mode="json") | {"kind": "lr_find", "steps": 20})
    status, channel = run(build_start(spec, dataset, tmp_path / "work"))
    assert status == 0, channel.messages[-2:]
    assert json.loads(last(channel)["lr_find.json"]) == channel.select_messages(JobCompleted)[0].result
    assert last(channel)["lr_find.png"].startswith(b"\x89PNG")


def test_a_curve_that_cannot_be_left_is_a_warning(dataset: Path, tmp_path: Path) -> None:
    spec = ANY_JOB.validate_python(build_spec().model_dump(mode="json") | {"kind": "lr_find", "steps": 20})
    order = build_start(spec, dataset, tmp_path / "work")
    (tmp_path / "work" / "artifacts").write_text("no folder can be made here")
    status, channel = run(order)
    assert (status, len(channel.select_messages(JobCompleted))) == (0, 1)
    assert any("could not be saved" in said.message for said in channel.select_messages(Log))
