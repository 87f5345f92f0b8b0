"""Copying images from an archive to a temporary file."""

import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.datasets.archives.entries import ArchiveEntry
from core.datasets.archives.limits import UploadLimits
from core.datasets.archives.spool import ImageSpool, has_image_suffix, is_hidden
from core.datasets.archives.spool_blocks import BLOCK_BYTES
from core.errors import InvalidArchive
from tests.support.images import random_png


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[ImageSpool]:
    with closing(ImageSpool(tmp_path / "spool", UploadLimits(max_image_bytes=2000))) as opened:
        yield opened


def extract(spool: ImageSpool, files: dict[str, bytes | None]) -> None:
    entries = (
        ArchiveEntry(tuple(name.split("/")), None if body is None else io.BytesIO(body)) for name, body in files.items()
    )
    spool.extract_images(entries)


def test_images_can_be_read_in_any_order(spool: ImageSpool) -> None:
    files = {f"a/{i}.png": random_png(i) for i in range(3)}
    extract(spool, {"a": None, **files})
    assert [image.name for image in spool.spooled_images] == list(files)
    assert spool.spooled_images[0].size == (12, 10, 3)
    selected = list(reversed(spool.spooled_images))
    assert list(spool.read_images(selected)) == [files[image.name] for image in selected]
    assert spool.folders == [("a",)]


def test_the_disk_space_of_read_images_is_freed(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    with closing(ImageSpool(path, UploadLimits())) as spool:
        files = {f"a/{i}.png": random_png(i, height=64, width=64) for i in range(100)}
        extract(spool, {**files})
        assert path.stat().st_blocks * 512 >= sum(map(len, files.values()))
        contents = spool.read_images(spool.spooled_images)
        for name in list(files)[:50]:
            assert next(contents) == files[name]
        assert path.stat().st_blocks * 512 < 0.6 * sum(map(len, files.values()))
        assert list(contents) == list(files.values())[50:]
        assert path.stat().st_blocks * 512 < 2 * BLOCK_BYTES


def test_other_files_are_unreadable_or_ignored(spool: ImageSpool) -> None:
    extract(
        spool, {"a/1.png": b"damaged", "a/2.jpg": b"x" * 3000, "a/notes.txt": b"text", "a/.DS_Store": b"", "b": b""}
    )
    assert [entry.name for entry in spool.unreadable] == ["a/1.png", "a/2.jpg"]
    assert "more than 2000 bytes" in spool.unreadable[1].reason
    assert (spool.ignored, spool.num_ignored) == (["a/notes.txt", "b"], 2)
    assert spool.ignored_suffixes == {".txt": 1, "": 1}


def test_weights_files_are_deleted_on_close(tmp_path: Path) -> None:
    spool = ImageSpool(tmp_path / "spool", UploadLimits())
    extract(spool, {"weights.csv": b"name,weight\n", "a/weights.csv": b"", "a/b/c/d/weights.csv": b""})
    assert set(spool.weights_files) == {("weights.csv",), ("a", "weights.csv")}
    assert spool.weights_files[("weights.csv",)].read_bytes() == b"name,weight\n"
    assert spool.ignored == ["a/b/c/d/weights.csv"]
    spool.close()
    assert [path.name for path in tmp_path.iterdir()] == ["spool"]


def test_an_oversized_weights_file_is_rejected(spool: ImageSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.datasets.archives.spool._MAX_WEIGHTS_BYTES", 3)
    with pytest.raises(InvalidArchive, match=r"weights\.csv has more than 3 bytes"):
        extract(spool, {"weights.csv": b"1234"})


@pytest.mark.parametrize(
    ("name", "hidden"), [("a/.git/1.png", True), ("__MACOSX/1.png", True), ("a/Thumbs.db", True), ("a/1.png", False)]
)
def test_system_files_are_hidden(name: str, hidden: bool) -> None:
    assert is_hidden(tuple(name.split("/"))) is hidden


@pytest.mark.parametrize(("name", "expected"), [("1.PNG", True), ("1.gif", True), ("1.txt", False), ("png", False)])
def test_the_suffix_names_an_image(name: str, expected: bool) -> None:
    assert has_image_suffix(("a", name)) is expected


def test_label_files_and_lists_are_copied(spool: ImageSpool) -> None:
    files = {"labels.csv": b"name,label", "a/x.tsv": b"1", "train.txt": b"a", "notes.txt": b"b", "1/2/3/4/x.csv": b"c"}
    extract(spool, dict(files))
    copied = {"/".join(file.parts): file.path.read_bytes() for file in spool.list_files}
    assert copied == {"labels.csv": b"name,label", "a/x.tsv": b"1", "train.txt": b"a"}
    assert spool.ignored == ["notes.txt", "1/2/3/4/x.csv"]


def test_an_oversized_label_file_is_rejected(spool: ImageSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.datasets.archives.spool._MAX_ANNOTATION_BYTES", 3)
    extract(spool, {"other.csv": b"1234"})
    assert (spool.list_files, spool.ignored) == ([], ["other.csv"])
    with pytest.raises(InvalidArchive, match=r"labels\.csv has more than 3 bytes"):
        extract(spool, {"labels.csv": b"1234"})


def test_the_number_of_lists_is_limited(spool: ImageSpool) -> None:
    extract(spool, {f"{number}.csv": b"x" for number in range(20)})
    assert (len(spool.list_files), spool.num_ignored) == (16, 4)
