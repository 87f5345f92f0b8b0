"""A job on the command line: what is given with `--resume-dir` is looked at before it is gone on from."""

from pathlib import Path

import pytest

from core.spec import JobSpec
from tests.support.trainer import build_start
from tests.support.training import RecordingChannel, build_spec, pack
from worker.engine.snapshot_checksums import CHECKSUMS, BadSnapshot, find_latest_valid, verify_checksums
from worker.protocol import CheckpointWritten, RunStarted, TrainingFinished
from worker.trainer import cli, main

SPEC = build_spec(epochs=3)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "it"
    pack(folder, num_samples=90)
    return folder


@pytest.fixture
def whole(dataset: Path, tmp_path: Path) -> RecordingChannel:
    channel = RecordingChannel()
    assert main.run_job(build_start(SPEC, dataset, tmp_path / "whole"), channel) == 0
    return channel


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["weights.safetensors", "state.safetensors", "snapshot.json"])
def test_a_flipped_bit_is_found_and_the_snapshot_before_is_gone_on_from_to_the_same_weights(
    dataset: Path, tmp_path: Path, whole: RecordingChannel, name: str
) -> None:
    first, second, third = (Path(checkpoint.dir) for checkpoint in whole.select_messages(CheckpointWritten))
    flip_a_bit(third / name)
    flip_a_bit(second / name)
    (tmp_path / "spec.json").write_text(SPEC.model_dump_json())
    words = {"--spec": "spec.json", "--dataset-dir": dataset, "--work-dir": "again", "--resume-dir": third}
    options = cli.create_parser().parse_args([str(word) for pair in words.items() for word in pair])
    options.spec, options.work_dir = tmp_path / options.spec, tmp_path / options.work_dir
    warnings = list[str]()
    order = cli.build_start_message(options, warnings.append)
    assert (order.spec, order.resume_dir) == (SPEC, str(first))
    assert warnings == [
        f"A damaged snapshot was skipped: {folder.name}/{name} differs from its checksum." for folder in (third, second)
    ]
    channel = RecordingChannel()
    assert main.run_job(order, channel) == 0
    assert channel.select_messages(RunStarted)[0].runtime["resumed_from_step"] == 5
    assert channel.select_messages(TrainingFinished)[0].files == {
        **whole.select_messages(TrainingFinished)[0].files,
        "bundle.json": _bundle(channel),
    }


def _bundle(channel: RecordingChannel) -> object:
    return channel.select_messages(TrainingFinished)[0].files["bundle.json"]  # it names the job, which is another


def test_of_the_folder_of_all_the_newest_is_taken(tmp_path: Path) -> None:
    for name in ("e000001-s0000000005-end", "e000002-s0000000010-train", "e000002-s0000000010-end", ".tmp-e000003"):
        (tmp_path / name).mkdir()
    warnings = list[str]()
    assert find_latest_valid(tmp_path, warnings.append).name == "e000002-s0000000010-end"
    (tmp_path / "e000002-s0000000010-end" / CHECKSUMS).write_text(f"{'0' * 64}  weights.safetensors\n")
    assert find_latest_valid(tmp_path, warnings.append).name == "e000002-s0000000010-train"
    assert "weights.safetensors is missing" in warnings[0]
    with pytest.raises(BadSnapshot, match="is missing"):
        verify_checksums(tmp_path / "e000002-s0000000010-end")


def test_where_no_snapshot_is_sound_it_is_refused(tmp_path: Path) -> None:
    only = tmp_path / "mine"
    only.mkdir()
    (only / CHECKSUMS).write_text(f"{'0' * 64}  snapshot.json\n")
    with pytest.raises(BadSnapshot, match=r"snapshot\.json is missing"):
        find_latest_valid(only, lambda text: None)


def test_numbers_of_a_json_file_are_json(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(SPEC.model_dump_json())
    assert "1e-8" in (tmp_path / "spec.json").read_text() or "1e-08" in (tmp_path / "spec.json").read_text()
    options = cli.create_parser().parse_args(
        ["--spec", str(tmp_path / "spec.json"), "--work-dir", str(tmp_path / "work")]
    )
    assert isinstance(cli.build_start_message(options, print).spec, JobSpec)
