"""Writes the artifacts of a job and reports each artifact to the supervisor."""

import hashlib
import os
import uuid
from pathlib import Path

from worker.engine import snapshot
from worker.protocol import ArtifactWritten, FileDigest
from worker.trainer.channel import Channel


class Artifacts:
    """Writes each artifact into a separate folder, which the supervisor owns after the report."""

    def __init__(self, channel: Channel, folder: Path) -> None:
        self._channel = channel
        self._folder = folder

    def save(self, name: str, media_type: str, content: bytes, *, is_optional: bool = True) -> None:
        """Write an artifact, fsync it and report it to the supervisor.

        Raises:
            OSError: the artifact cannot be written.
        """
        folder = self._folder / uuid.uuid4().hex
        folder.mkdir(parents=True)
        with (folder / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        message = ArtifactWritten(
            dir=str(folder),
            name=name,
            media_type=media_type,
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            is_optional=is_optional,
        )
        self._channel.send(message)


def to_file_digests(digests: snapshot.FileDigests) -> dict[str, FileDigest]:
    """Convert the digests of a folder's files to protocol messages."""
    return {name: FileDigest(sha256=sha256, size_bytes=size) for name, (sha256, size) in digests.items()}
