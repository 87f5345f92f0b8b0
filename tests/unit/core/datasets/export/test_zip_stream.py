"""Zip archives that are encoded as a stream, read by `zipfile`."""

import io
import zipfile

import pytest

from core.datasets.export import zip_stream
from core.datasets.export.zip_stream import ZipStream

GIB4 = 2**32


def encode(stream: ZipStream, files: dict[str, bytes]) -> bytes:
    return b"".join(stream.encode_entry(name, body) for name, body in files.items()) + stream.encode_directory()


def read(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_entries_are_read_by_zipfile() -> None:
    files = {"a.txt": b"one", "ordner/ü.txt": b"", "b": b"x" * 70_000}
    content = encode(ZipStream(), files)
    assert read(content) == files
    assert encode(ZipStream(), files) == content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entry = archive.infolist()[0]
        assert (entry.date_time, entry.external_attr >> 16, entry.compress_type) == ((1980, 1, 1, 0, 0, 0), 0o100644, 0)


def test_an_entry_of_unknown_size_is_written_in_chunks() -> None:
    stream = ZipStream()
    parts = [stream.encode_entry("first", b"1"), stream.start_entry("rows.csv")]
    parts += [stream.encode_chunk(b"a,b\n"), stream.encode_chunk(b"1,2\n"), stream.end_entry()]
    parts += [stream.encode_entry("last", b"2"), stream.encode_directory()]
    assert read(b"".join(parts)) == {"first": b"1", "rows.csv": b"a,b\n1,2\n", "last": b"2"}


def test_chunks_need_a_started_entry() -> None:
    stream = ZipStream()
    with pytest.raises(ValueError, match="no entry was started"):
        stream.encode_chunk(b"x")
    with pytest.raises(ValueError, match="no entry was started"):
        stream.end_entry()


def test_more_than_65535_entries_use_zip64() -> None:
    stream = ZipStream()
    content = bytearray()
    for number in range(66_000):
        content += stream.encode_entry(str(number), b"")
    content += stream.encode_directory()
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as archive:
        assert len(archive.namelist()) == 66_000
        assert archive.namelist()[-1] == "65999"


def test_entries_behind_4_gib_use_zip64() -> None:
    stream = ZipStream(GIB4 + 10)
    body = encode(stream, {"far": b"away"})

    class Shifted(io.BytesIO):
        """The archive as if 4 GiB were in front of it."""

        def seek(self, offset: int, whence: int = 0) -> int:
            return super().seek(offset - (GIB4 + 10) if whence == 0 else offset, whence) + GIB4 + 10

        def tell(self) -> int:
            return super().tell() + GIB4 + 10

    with zipfile.ZipFile(Shifted(body)) as archive:
        assert archive.infolist()[0].header_offset == GIB4 + 10
        assert archive.read("far") == b"away"


def test_a_streamed_entry_above_4_gib_has_its_size_in_zip64(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = ZipStream()
    parts = [stream.start_entry("x"), stream.encode_chunk(b"abc")]
    monkeypatch.setattr(zip_stream, "_MAX32", 3)  # as if 3 bytes were 4 GiB
    parts += [stream.end_entry()]
    monkeypatch.undo()
    directory = stream.encode_directory()
    assert (3).to_bytes(8, "little") * 2 in directory
