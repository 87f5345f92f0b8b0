"""An archive of pictures, predicted by the trainer: a line each, whatever is wrong with some of them."""

import csv
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.spec import ANY_JOB
from models import bundle
from tests.support import bundles
from tests.support.training import RecordingChannel
from worker.protocol import EXIT_STOPPED, JobCompleted, RunFailed, Start
from worker.trainer import main

SPEC = {"kind": "predict_archive", "model": "it@1", "dataset": {"name": "synthetic"}, "archive": "0" * 32, "threads": 1}


def png(seed: int) -> tuple[bytes, np.ndarray]:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue(), pixels


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    words = bundles.build_description()
    bundle.save_bundle(folder, bundles.build_network(words), words)
    return folder


def run(model_dir: Path, archive: Path, asked: Any = None, **changes: Any) -> tuple[int, RecordingChannel]:
    (archive.parent / "work").mkdir()
    order = Start(
        job_id="j1",
        attempt=1,
        spec=ANY_JOB.validate_python(SPEC | {"precision": "fp32"} | changes),
        dataset_dir="",
        dataset={},
        work_dir=str(archive.parent / "work"),
        model_dir=str(model_dir),
        archive_path=str(archive),
        lease_s=60.0,
    )
    channel = RecordingChannel()
    channel.stop_mode = asked
    return main.run_job(order, channel), channel


def answers(channel: RecordingChannel) -> tuple[JobCompleted, list[dict[str, str]], list[dict[str, Any]]]:
    answer = channel.messages[-1]
    assert isinstance(answer, JobCompleted), answer
    folder = Path(str(answer.dir))
    for name, file in answer.files.items():
        assert file.sha256 == bundle.compute_sha256(folder / name)
    table = list(csv.DictReader((folder / "predictions.csv").read_text().splitlines()))
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    return answer, table, lines


def test_every_image_has_a_line_and_what_cannot_be_read_says_why(model_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("broken.png", b"no picture")  # first: the columns do not depend on it
        for number in range(5):
            archive.writestr(f"holiday/{number}.png", png(number)[0])
        archive.writestr("notes.txt", b"hello")
        archive.writestr("__MACOSX/x.png", b"")
    status, channel = run(model_dir, path, batch_size=2, top_k=2)
    assert status == 0, channel.messages[-1]
    answer, table, lines = answers(channel)
    counted = {name: answer.result[name] for name in ("num_pictures", "num_failed", "num_ignored")}
    assert counted == {"num_pictures": 5, "num_failed": 1, "num_ignored": 1}
    assert [row["name"] for row in table] == ["broken.png", *(f"holiday/{number}.png" for number in range(5))]
    assert list(table[0]) == ["name", "label", "probability", "label_2", "probability_2", "error"]
    assert (table[0]["label"], table[0]["error"]) == ("", lines[0]["error"]["detail"])
    assert lines[0]["error"]["code"] == "invalid-picture"
    network = bundles.build_network(bundles.build_description())
    pixels = torch.from_numpy(np.stack([png(number)[1] for number in range(5)]))[..., None]
    with torch.inference_mode():
        expected = torch.softmax(network(bundles.build_description().build_preprocessing()(pixels)), 1)
    for row, line, probability in zip(table[1:], lines[1:], expected, strict=True):
        assert line["label"] == row["label"] == bundles.CLASSES[int(probability.argmax())]
        assert line["probability"] == pytest.approx(float(probability.max()), abs=1e-5)
        assert row["error"] == ""
    assert sum(answer.result["counts"].values()) == 5


def test_a_tar_is_read_as_it_streams(model_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "pictures.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("a.png")
        member.size = len(png(0)[0])
        archive.addfile(member, io.BytesIO(png(0)[0]))
    _, channel = run(model_dir, path)
    assert [line["name"] for line in answers(channel)[2]] == ["a.png"]


def test_an_archive_that_leads_out_is_refused(model_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", png(0)[0])
        archive.writestr("../b.png", png(1)[0])
    status, channel = run(model_dir, path)
    assert status == 1
    failed = channel.select_messages(RunFailed)[0]
    assert (failed.code, "out of the archive" in failed.message) == ("invalid_spec", True)


def test_it_leaves_when_asked(model_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", png(0)[0])
    assert run(model_dir, path, "cancel")[0] == EXIT_STOPPED
