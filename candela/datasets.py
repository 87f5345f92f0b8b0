"""Uploads images and tables from files or memory, lists datasets, and reads import reports."""

import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from candela.dataset_versions import DatasetVersions
from candela.errors import CandelaError, NotFound, ProblemError
from candela.folder_archive import SkippedEntry, format_skipped, list_entries, zip_folder
from candela.pagination import iterate_items
from candela.resumable import ResumableUploader, UploadSource
from candela.types import Dataset, DatasetVersion, SampleResponse

Progress = Callable[[int, int], None]  # called with the number of sent bytes and the total number of bytes
MEDIA_TYPES = {
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".gz": "application/gzip",
    ".tgz": "application/gzip",
    ".csv": "text/csv",
    ".tsv": "text/csv",
}
CHUNK_BYTES = 256 * 1024
RESUMABLE_BYTES = 32 * 2**20
"""Files of at least this size are uploaded in chunks, which continue after an interruption."""


class Datasets(DatasetVersions):
    """The datasets of a server, available as `client.datasets`."""

    def list(self) -> list[Dataset]:
        return list(iterate_items(self._transport, "/v1/datasets"))

    def get(self, name: str) -> Dataset:
        response: Dataset = self._transport.json("GET", f"/v1/datasets/{name}")
        return response

    def version(self, name: str, version: int) -> DatasetVersion:
        """Return one version of a dataset.

        Raises:
            CandelaError: the dataset does not have this version.
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
        on_skipped: Callable[[Sequence[SkippedEntry]], None] | None = None,
        resumable: bool | None = None,
        on_resumed: Progress | None = None,
    ) -> DatasetVersion:
        """Upload a new version. The import continues after this call (see `wait`).

        Args:
            name: name of the dataset, which is created if it does not exist.
            path: a folder, an archive, or a `.csv` or `.csv.gz` table. A folder contains `class/image` files, or
                `train/class/image`, `valid/class/image` etc., or images and `labels.csv`. An archive is a zip, tar or
                tar.gz of such a folder.
                Symbolic links in a folder are followed.
            options: import options such as `{"target": "species", "missing": "impute"}`.
            progress: function that is called with the number of sent bytes and the total number of bytes.
            on_skipped: function that is called with the entries of a folder that are not uploaded, such as links
                without a target. Default: they are shown as a Python warning.
            resumable: upload in chunks and continue after an interruption, also when a killed process is started again
                with the same file. Default: True from 32 MiB, if the server supports it.
            on_resumed: function that is called with the number of bytes that the server already has and the total
                number of bytes, if an earlier upload continues.
        """
        source = Path(path)
        if source.is_dir():
            with tempfile.TemporaryDirectory(prefix="candela-") as scratch:
                archive = zip_folder(source, Path(scratch) / "upload.zip")
                if archive.skipped:
                    (on_skipped or _warn_of_skipped)(archive.skipped)
                contents = (str(source.resolve()), list_entries(archive.path))
                return self._upload(name, archive.path, options, progress, resumable, on_resumed, contents)
        if not source.is_file():
            raise CandelaError(f"{source} does not exist, or is neither a file nor a folder")
        identity = (str(source.resolve()), source.stat().st_mtime_ns)
        return self._upload(name, source, options, progress, resumable, on_resumed, identity)

    def create(self, name: str, inputs: Any, targets: Any = None, **options: Any) -> DatasetVersion:  # noqa: ANN401 - any array
        """Create a new version from data in memory. The import continues after this call (see `wait`).

        Args:
            name: name of the dataset, which is created if it does not exist.
            inputs: numbers (N, F), or images (N, H, W) or (N, H, W, C) of integers from 0 to 255: nested lists, numpy
                arrays or torch tensors.
            targets: numbers or strings (N,), or numbers (N, K); None if the option `target` selects input columns.
            options: import options such as `columns=["age", "weight"], task="regression"`.

        Raises:
            CandelaError: a value cannot be encoded as JSON, such as NaN.
            ProblemError: the server rejected the data; the pointers in `errors` locate the invalid values.
        """
        body = {"name": name, "inputs": _to_lists(inputs), **{key: _to_lists(value) for key, value in options.items()}}
        if targets is not None:
            body["targets"] = _to_lists(targets)
        try:
            content = json.dumps(body, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError) as error:
            raise CandelaError(f"dataset {name!r} cannot be sent as JSON: {error}") from error
        # Not repeatable: every request creates a new version.
        headers = {"Content-Type": "application/json"}
        response: DatasetVersion = self._transport.json(
            "POST", "/v1/datasets", content=content, headers=headers, repeatable=False
        )
        return response

    def wait(self, name: str, version: int, *, timeout_s: float | None = None) -> DatasetVersion:
        """Wait until the import has ended, and return the version with the state `ready` or `failed`.

        Raises:
            TimeoutError: the version is still importing after `timeout_s` seconds.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = 0.1
        while (response := self.version(name, version))["state"] == "importing":
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"dataset {name} version {version} is still importing after {timeout_s} s")
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 2.0)
        return response

    def report(self, name: str, version: int) -> dict[str, Any]:
        """Return the import report: class counts, unreadable files, equal and near-equal images, leaks and means."""
        response: dict[str, Any] = self._transport.json("GET", f"/v1/datasets/{name}/versions/{version}/report")
        return response

    def preview(self, name: str, version: int) -> bytes:
        """Return a PNG file with a grid of images of the dataset."""
        return self._transport.request("GET", f"/v1/datasets/{name}/versions/{version}/preview").content

    def samples(
        self,
        name: str,
        version: int,
        *,
        label: str | None = None,
        split: str | None = None,
        limit: int | None = None,
    ) -> Iterator[SampleResponse]:
        """Yield the samples of a version with their names, labels and, for tables, values.

        Args:
            name: name of the dataset.
            version: number of the version.
            label: only samples of this class.
            split: only samples of `train`, `valid` or `test`.
            limit: maximum number of samples; default: all.
        """
        params = {key: value for key, value in (("class", label), ("split", split)) if value is not None}
        path = f"/v1/datasets/{name}/versions/{version}/samples"
        return iterate_items(self._transport, path, params=params, limit=limit)

    def sample_image(self, name: str, version: int, split: str, index: int, *, size: int | None = None) -> bytes:
        """Return the image of a sample as a PNG file. `size` is the longer side in pixels, from 8 to 1024."""
        path = f"/v1/datasets/{name}/versions/{version}/samples/{split}/{index}"
        return self._transport.request("GET", path, params={} if size is None else {"size": size}).content

    def delete(self, name: str, version: int | None = None) -> None:
        """Delete a version with its files; default: the dataset with all versions."""
        path = f"/v1/datasets/{name}" + ("" if version is None else f"/versions/{version}")
        self._transport.request("DELETE", path)

    def describe(self, name: str, version: int | None = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Set the `description` or the `tags` of a dataset, or of a version. Return it."""
        path = f"/v1/datasets/{name}" + ("" if version is None else f"/versions/{version}")
        response: dict[str, Any] = self._transport.json("PATCH", path, json=changes)
        return response

    def _upload(
        self,
        name: str,
        archive: Path,
        options: Mapping[str, Any] | None,
        progress: Progress | None,
        resumable: bool | None,
        on_resumed: Progress | None,
        identity: tuple[Any, ...],
    ) -> DatasetVersion:
        is_large = archive.stat().st_size >= RESUMABLE_BYTES
        if resumable or (resumable is None and is_large):
            source = UploadSource(archive, name, options or {}, _get_media_type(archive), identity)
            uploader = ResumableUploader(self._transport)
            try:
                return uploader.upload(source, progress=progress or _ignore, on_resumed=on_resumed or _ignore)
            except ProblemError as error:
                if resumable or not _is_unsupported(error):
                    raise
        return self._upload_at_once(name, archive, options, progress or _ignore)

    def _upload_at_once(
        self, name: str, archive: Path, options: Mapping[str, Any] | None, progress: Progress
    ) -> DatasetVersion:
        size_bytes = archive.stat().st_size
        headers = {
            "Content-Type": _get_media_type(archive),
            "Content-Length": str(size_bytes),
        }
        with archive.open("rb") as file:
            chunks = _read_chunks(file, size_bytes, progress)
            # Not repeatable: every upload creates a new version, and a partly read file cannot be sent again.
            response: DatasetVersion = self._transport.json(
                "POST",
                f"/v1/datasets/{name}/versions",
                content=chunks,
                headers=headers,
                params=dict(options or {}),
                repeatable=False,
            )
        return response


def _ignore(_sent: int, _size: int) -> None:
    pass


def _is_unsupported(error: ProblemError) -> bool:
    """Return whether the server is older than resumable uploads."""
    return error.problem.get("instance") == "/v1/uploads" and (isinstance(error, NotFound) or error.status == 405)


def _warn_of_skipped(skipped: Sequence[SkippedEntry]) -> None:
    warnings.warn(format_skipped(skipped), stacklevel=3)


def _to_lists(values: Any) -> Any:  # noqa: ANN401 - arrays, lists or scalars
    """Convert arrays to nested lists, including arrays inside lists."""
    if hasattr(values, "tolist"):
        return values.tolist()
    return [_to_lists(value) for value in values] if isinstance(values, list | tuple) else values


def _get_media_type(path: Path) -> str:
    """Return the media type of a file by its name. A gzipped table is sent as a table."""
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    is_table = MEDIA_TYPES.get(name.suffix.lower()) == "text/csv"
    return "text/csv" if is_table else MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")


def _read_chunks(file: IO[bytes], size_bytes: int, progress: Progress) -> Iterator[bytes]:
    sent = 0
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
        sent += len(chunk)
        progress(sent, size_bytes)
