"""Jobs on the command line."""

from pathlib import Path

import pytest

from core.spec import JobSpec
from tests.support.trainer import build_start
from tests.support.training import RecordingChannel, build_spec
from worker.protocol import CheckpointWritten, RunStarted, TrainingFinished
from worker.trainer import cli, main

SPEC = build_spec(epochs=3)


@pytest.fixture
def uninterrupted(dataset: Path, tmp_path: Path) -> RecordingChannel:
    channel = RecordingChannel()
    assert main.run_job(build_start(SPEC, dataset, tmp_path / "uninterrupted"), channel) == 0
    return channel


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["weights.safetensors", "state.safetensors", "snapshot.json"])
def test_damaged_snapshot_is_skipped_and_the_run_ends_with_the_same_weights(
    dataset: Path, tmp_path: Path, uninterrupted: RecordingChannel, name: str
) -> None:
    first, second, third = (Path(checkpoint.dir) for checkpoint in uninterrupted.select_messages(CheckpointWritten))
    flip_bit(third / name)
    flip_bit(second / name)
    (tmp_path / "spec.json").write_text(SPEC.model_dump_json())
    arguments = {"--spec": "spec.json", "--dataset-dir": dataset, "--work-dir": "again", "--resume-dir": third}
    options = cli.create_parser().parse_args([str(item) for pair in arguments.items() for item in pair])
    options.spec, options.work_dir = tmp_path / options.spec, tmp_path / options.work_dir
    warnings = list[str]()
    start = cli.build_start_message(options, warnings.append)
    assert (start.spec, start.resume_dir) == (SPEC, str(first))
    assert warnings == [
        f"A damaged snapshot was skipped: {folder.name}/{name} differs from its checksum." for folder in (third, second)
    ]
    channel = RecordingChannel()
    assert main.run_job(start, channel) == 0
    assert channel.select_messages(RunStarted)[0].runtime["resumed_from_step"] == 5
    files, expected = (each.select_messages(TrainingFinished)[0].files for each in (channel, uninterrupted))
    bundle = {"bundle.json": files["bundle.json"]}  # it names the job, which differs
    assert files == expected | bundle


def test_json_spec_is_parsed_as_json(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(SPEC.model_dump_json())
    assert "1e-8" in (tmp_path / "spec.json").read_text() or "1e-08" in (tmp_path / "spec.json").read_text()
    options = cli.create_parser().parse_args(
        ["--spec", str(tmp_path / "spec.json"), "--work-dir", str(tmp_path / "work")]
    )
    assert isinstance(cli.build_start_message(options, print).spec, JobSpec)
