"""Predictions of an archive of images."""

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

from core.datasets.archives.limits import UploadLimits
from core.images import decode_image
from core.resizing import ResizePolicy
from core.spec import ANY_JOB
from models import bundle
from tests.support import bundles
from tests.support.images import add_tar_file, encode_image
from tests.support.trainer import run_job
from tests.support.training import RecordingChannel
from worker.protocol import EXIT_STOPPED, JobCompleted, RunFailed, Start
from worker.trainer import predict_archive

LIMITS = UploadLimits()
SPEC = {"kind": "predict_archive", "model": "it@1", "dataset": {"name": "synthetic"}, "archive": "0" * 32, "threads": 1}


def make_png(seed: int) -> tuple[bytes, np.ndarray]:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue(), pixels


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    description = bundles.build_description()
    bundle.save_bundle(folder, bundles.build_network(description), description)
    return folder


def run_archive(
    model_dir: Path, archive: Path, stop_mode: Any = None, *, limits: UploadLimits = LIMITS, **changes: Any
) -> tuple[int, RecordingChannel]:
    (archive.parent / "work").mkdir()
    start = Start(
        job_id="j1",
        attempt=1,
        spec=ANY_JOB.validate_python(SPEC | {"precision": "fp32"} | changes),
        dataset_dir="",
        dataset={},
        work_dir=str(archive.parent / "work"),
        model_dir=str(model_dir),
        archive_path=str(archive),
        archive_limits=limits,
        lease_s=60.0,
    )
    return run_job(start, stop_mode)


def read_results(channel: RecordingChannel) -> tuple[JobCompleted, list[dict[str, str]], list[dict[str, Any]]]:
    completed = channel.messages[-1]
    assert isinstance(completed, JobCompleted), completed
    folder = Path(str(completed.dir))
    for name, file in completed.files.items():
        assert file.sha256 == bundle.compute_sha256(folder / name)
    table = list(csv.DictReader((folder / "predictions.csv").read_text().splitlines()))
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    return completed, table, lines


def test_every_image_has_a_line_and_unreadable_ones_an_error(model_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("broken.png", b"not an image")  # first: the columns do not depend on it
        for number in range(5):
            archive.writestr(f"holiday/{number}.png", make_png(number)[0])
        archive.writestr("notes.txt", b"hello")
        archive.writestr("__MACOSX/x.png", b"")
    status, channel = run_archive(model_dir, path, batch_size=2, top_k=2)
    assert status == 0, channel.messages[-1]
    completed, table, lines = read_results(channel)
    counts = {name: completed.result[name] for name in ("num_pictures", "num_failed", "num_ignored")}
    assert counts == {"num_pictures": 5, "num_failed": 1, "num_ignored": 1}
    assert [row["name"] for row in table] == ["broken.png", *(f"holiday/{number}.png" for number in range(5))]
    assert list(table[0]) == ["name", "label", "probability", "label_2", "probability_2", "error"]
    assert (table[0]["label"], table[0]["error"]) == ("", lines[0]["error"]["detail"])
    assert lines[0]["error"]["code"] == "invalid-picture"
    network = bundles.build_network(bundles.build_description())
    pixels = torch.from_numpy(np.stack([make_png(number)[1] for number in range(5)]))[..., None]
    with torch.inference_mode():
        expected = torch.softmax(network(bundles.build_description().build_preprocessing()(pixels)), 1)
    for row, line, probability in zip(table[1:], lines[1:], expected, strict=True):
        assert line["label"] == row["label"] == bundles.CLASSES[int(probability.argmax())]
        assert line["probability"] == pytest.approx(float(probability.max()), abs=1e-5)
        assert row["error"] == ""
    assert sum(completed.result["counts"].values()) == 5


@pytest.mark.parametrize(
    ("limits", "setting"),
    [({"max_pixels": 63}, "CANDELA_MAX_IMAGE_PIXELS"), ({"max_image_bytes": 70}, "CANDELA_MAX_IMAGE_BYTES")],
)
def test_the_limits_of_the_service_apply(limits: dict[str, int], setting: str, model_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", make_png(0)[0])
    _, channel = run_archive(model_dir, path, limits=UploadLimits(**limits))
    error = read_results(channel)[2][0]["error"]
    assert (error["code"], setting in error["detail"]) == ("image_too_large", True)


def test_a_raised_limit_applies(model_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", encode_image(Image.new("1", (5001, 5001))))
    _, channel = run_archive(model_dir, path, limits=UploadLimits(max_pixels=26_000_000))
    assert read_results(channel)[0].result["num_failed"] == 0


def test_hard_links_of_an_archive_are_predicted(model_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    with tarfile.open(path, "w") as archive:
        add_tar_file(archive, "a.png", make_png(0)[0])
        link = tarfile.TarInfo("b.png")
        link.type, link.linkname = tarfile.LNKTYPE, "a.png"
        archive.addfile(link)
    _, channel = run_archive(model_dir, path)
    first, second = read_results(channel)[2]
    assert (first["name"], second) == ("a.png", first | {"name": "b.png"})


def test_a_batch_of_large_images_is_smaller(model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for number in range(5):
            archive.writestr(f"{number}.png", make_png(number)[0])
    sizes: list[int] = []
    predict = predict_archive._PlacedModel.predict

    def record(self: Any, pixels: list[np.ndarray]) -> torch.Tensor:
        sizes.append(len(pixels))
        return predict(self, pixels)

    monkeypatch.setattr(predict_archive._PlacedModel, "predict", record)
    monkeypatch.setattr(predict_archive, "MAX_BATCH_BYTES", 2 * 8 * 8)
    status, _ = run_archive(model_dir, tmp_path / "images.zip", batch_size=4)
    assert (status, sizes) == (0, [2, 2, 1])


def test_images_are_resized_as_the_training_images_were(tmp_path: Path) -> None:
    policy = ResizePolicy("pad", pad_color=(90, 90, 90), interpolation="bicubic")
    description = bundles.build_description(**policy.to_dict())
    (tmp_path / "model").mkdir()
    network = bundles.build_network(description)
    bundle.save_bundle(tmp_path / "model", network, description)
    body = encode_image(np.random.default_rng(0).integers(0, 256, (20, 9), dtype=np.uint8), "TIFF")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("0.tif", body)
    status, channel = run_archive(tmp_path / "model", tmp_path / "images.zip")
    assert status == 0
    pixels = decode_image(body, (1, 8, 8), resize=policy)
    with torch.inference_mode():
        scores = network(description.build_preprocessing()(torch.from_numpy(pixels[None])))
    _, _, (line,) = read_results(channel)
    assert line["probability"] == pytest.approx(float(scores.softmax(1).max()), rel=1e-5)


def test_tar_archive_is_read(model_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "images.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("a.png")
        member.size = len(make_png(0)[0])
        archive.addfile(member, io.BytesIO(make_png(0)[0]))
    _, channel = run_archive(model_dir, path)
    assert [line["name"] for line in read_results(channel)[2]] == ["a.png"]


def test_archive_with_an_unsafe_path_is_rejected(model_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", make_png(0)[0])
        archive.writestr("../b.png", make_png(1)[0])
    status, channel = run_archive(model_dir, path)
    assert status == 1
    failed = channel.select_messages(RunFailed)[0]
    assert (failed.code, "../b.png" in failed.message) == ("invalid_spec", True)


def test_archive_job_stops_on_request(model_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", make_png(0)[0])
    assert run_archive(model_dir, path, "cancel")[0] == EXIT_STOPPED
