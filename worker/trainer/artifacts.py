"""Files that a job leaves beside its model: written, and told to the supervisor."""

import hashlib
import os
import uuid
from pathlib import Path

from worker.protocol import ArtifactWritten
from worker.trainer.channel import Channel


class Artifacts:
    """Every file has a folder of its own, which the supervisor takes."""

    def __init__(self, channel: Channel, folder: Path) -> None:
        self._channel, self._folder = channel, folder

    def save(self, name: str, media_type: str, content: bytes, *, is_optional: bool = True) -> None:
        """Write a file durably, and hand it over.

        Raises:
            OSError: it cannot be written.
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
