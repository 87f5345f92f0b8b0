"""Uploads as scratch files."""

from collections.abc import AsyncIterator

import pytest

from app.services.uploads import save_upload
from core.storage import LocalStorage


async def send_chunks(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_upload_is_a_file_until_the_context_ends(storage: LocalStorage) -> None:
    chunks = [b"a" * 2**20, b"", b"bc"]
    async with save_upload(storage, send_chunks(*chunks)) as path:
        assert path.read_bytes() == b"".join(chunks)
    assert not path.parent.exists()


async def test_file_is_deleted_when_the_client_disconnects(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def disconnect() -> AsyncIterator[bytes]:
        yield b"a"
        raise ConnectionError

    folder = storage.create_scratch_folder()
    monkeypatch.setattr(storage, "create_scratch_folder", lambda: folder)
    with pytest.raises(ConnectionError):
        async with save_upload(storage, disconnect()):
            raise AssertionError
    assert not folder.exists()
