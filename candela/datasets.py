"""Datasets: upload pictures or a table, as files or as they lie in memory; list them, read their reports."""

import json
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from candela.errors import CandelaError
from candela.pagination import pages
from candela.transport import Transport
from candela.types import Dataset, DatasetVersion

Progress = Callable[[int, int], None]  # bytes sent, bytes in all
MEDIA_TYPES = {
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".gz": "application/gzip",
    ".tgz": "application/gzip",
    ".csv": "text/csv",
    ".tsv": "text/csv",
}
PIECE_BYTES = 256 * 1024


class Datasets:
    """`client.datasets`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[Dataset]:
        return list(pages(self._transport, "/v1/datasets"))

    def get(self, name: str) -> Dataset:
        answer: Dataset = self._transport.json("GET", f"/v1/datasets/{name}")
        return answer

    def version(self, name: str, version: int) -> DatasetVersion:
        """One version of a dataset.

        Raises:
            CandelaError: the dataset has no such version.
        """
        for candidate in self.get(name)["versions"]:
            if candidate["version"] == version:
                return candidate
        raise CandelaError(f"dataset {name!r} has no version {version}")

    def add(
        self,
        name: str,
        path: str | os.PathLike[str],
        *,
        options: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> DatasetVersion:
        """Upload a new version; it is still `importing` when this returns (see `wait`).

        Args:
            name: of the dataset; made if there is none.
            path: a folder of `class/picture` (or `train/class/picture`, `valid/…`), zipped on the way, or a
                zip, tar or tar.gz of one; or a table, `.csv`.
            options: how it is read, such as `{"target": "species", "missing": "impute"}`.
            progress: called with the bytes sent and the bytes there are.
        """
        source = Path(path)
        if source.is_dir():
            with tempfile.TemporaryDirectory(prefix="candela-") as scratch:
                return self._upload(name, zip_folder(source, Path(scratch) / "upload.zip"), options, progress)
        if not source.is_file():
            raise CandelaError(f"{source} is neither a file nor a folder")
        return self._upload(name, source, options, progress)

    def create(self, name: str, inputs: Any, targets: Any = None, **options: Any) -> DatasetVersion:  # noqa: ANN401 - anything that is an array
        """A new version from data in memory; it is still `importing` when this returns (see `wait`).

        Args:
            name: of the dataset; made if there is none.
            inputs: (N, F) numbers, or pictures (N, H, W) or (N, H, W, C) of integers from 0 to 255: nested lists, or
                whatever has a method `tolist`, such as arrays of numpy and tensors of torch.
            targets: (N,) numbers or texts, or (N, K) numbers; left out where `target` names columns of the inputs.
            options: how it is read, such as `columns=["age", "weight"], task="regression"`.

        Raises:
            CandelaError: something is not of JSON, such as a number that is not finite.
            ProblemError: the server refused; `errors` point to the values.
        """
        body = {"name": name, "inputs": _listed(inputs), **{key: _listed(value) for key, value in options.items()}}
        if targets is not None:
            body["targets"] = _listed(targets)
        try:
            content = json.dumps(body, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError) as error:
            raise CandelaError(f"dataset {name!r} cannot be sent as JSON: {error}") from error
        # Not repeated: every request is a new version.
        headers = {"Content-Type": "application/json"}
        answer: DatasetVersion = self._transport.json(
            "POST", "/v1/datasets", content=content, headers=headers, repeatable=False
        )
        return answer

    def wait(self, name: str, version: int, *, timeout_s: float | None = None) -> DatasetVersion:
        """Return the version once it is `ready` or `failed`.

        Raises:
            TimeoutError: it is still importing.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = 0.1
        while (answer := self.version(name, version))["state"] == "importing":
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"dataset {name} version {version} is still importing after {timeout_s} s")
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 2.0)
        return answer

    def report(self, name: str, version: int) -> dict[str, Any]:
        """What the import found: counts per class, unreadable files by name, duplicates, leaks, means."""
        answer: dict[str, Any] = self._transport.json("GET", f"/v1/datasets/{name}/versions/{version}/report")
        return answer

    def preview(self, name: str, version: int) -> bytes:
        """A contact sheet of the pictures, as PNG."""
        return self._transport.request("GET", f"/v1/datasets/{name}/versions/{version}/preview").content

    def delete(self, name: str, version: int) -> None:
        self._transport.request("DELETE", f"/v1/datasets/{name}/versions/{version}")

    def _upload(
        self, name: str, archive: Path, options: Mapping[str, Any] | None, progress: Progress | None
    ) -> DatasetVersion:
        size_bytes = archive.stat().st_size
        headers = {
            "Content-Type": MEDIA_TYPES.get(archive.suffix.lower(), "application/octet-stream"),
            "Content-Length": str(size_bytes),
        }
        with archive.open("rb") as file:
            pieces = _pieces(file, size_bytes, progress or (lambda _sent, _size: None))
            # Not repeated: every upload is a new version, and a half-sent file cannot be sent again from here.
            answer: DatasetVersion = self._transport.json(
                "POST",
                f"/v1/datasets/{name}/versions",
                content=pieces,
                headers=headers,
                params=dict(options or {}),
                repeatable=False,
            )
        return answer


def zip_folder(folder: Path, archive: Path) -> Path:
    """Write the files under a folder into a zip, by name in a stable order; hidden ones and links stay out.

    Raises:
        CandelaError: the folder has no files.
    """
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink() and not _is_hidden(p, folder))
    if not files:
        raise CandelaError(f"{folder} has no files")
    # Pictures are compressed already: storing them is as small and far quicker.
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, strict_timestamps=False) as out:
        for file in files:
            out.write(file, file.relative_to(folder).as_posix())
    return archive


def _listed(values: Any) -> Any:  # noqa: ANN401 - arrays, lists of them, or plain values
    """Nested lists of what may be arrays."""
    if hasattr(values, "tolist"):
        return values.tolist()
    return [_listed(value) for value in values] if isinstance(values, list | tuple) else values


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _pieces(file: IO[bytes], size_bytes: int, progress: Progress) -> Iterator[bytes]:
    sent = 0
    while piece := file.read(PIECE_BYTES):
        yield piece
        sent += len(piece)
        progress(sent, size_bytes)
