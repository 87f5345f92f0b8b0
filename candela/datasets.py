# Generated from candela/aio/datasets.py by `make sdk`. Edit that file.
"""Uploads images and tables from files or memory, lists datasets, and reads import reports."""

import os
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from candela.concurrency import run_blocking, sleep
from candela.dataset_versions import DatasetVersions
from candela.errors import ProblemError, UnusableFile
from candela.file_upload import post_file
from candela.folder_archive import SkippedEntry, list_entries, warn_of_skipped, zip_folder
from candela.inline_data import encode_inline_data
from candela.media_types import get_media_type
from candela.pagination import iterate_items, list_items
from candela.resumable import ResumableUploader
from candela.tus import UploadSource, is_unsupported
from candela.types import Dataset, DatasetVersion, ProgressCallback, SampleResponse

RESUMABLE_BYTES = 32 * 2**20
"""Files of at least this size are uploaded in chunks, which continue after an interruption."""


class Datasets(DatasetVersions):
    """The datasets of a server, available as `client.datasets`."""

    def list(self, *, tag: str | None = None) -> list[Dataset]:
        """Return the datasets with their versions, or only those with a tag."""
        return list_items(self._transport, "/v1/datasets", params={"tag": tag})

    def get(self, name: str) -> Dataset:
        """Return a dataset with its versions."""
        response: Dataset = self._transport.request_json("GET", f"/v1/datasets/{name}")
        return response

    def get_version(self, name: str, version: int) -> DatasetVersion:
        """Return one version of a dataset."""
        response: DatasetVersion = self._transport.request_json("GET", f"/v1/datasets/{name}/versions/{version}")
        return response

    def add(
        self,
        name: str,
        path: str | os.PathLike[str],
        *,
        options: Mapping[str, Any] | None = None,
        progress: ProgressCallback | None = None,
        on_skipped: Callable[[Sequence[SkippedEntry]], None] | None = None,
        resumable: bool | None = None,
        on_resumed: ProgressCallback | None = None,
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
                archive = run_blocking(zip_folder, source, Path(scratch) / "upload.zip")
                if archive.skipped:
                    (on_skipped or warn_of_skipped)(archive.skipped)
                contents = (str(source.resolve()), run_blocking(list_entries, archive.path))
                return self._upload(name, archive.path, options, progress, resumable, on_resumed, contents)
        if not source.is_file():
            raise UnusableFile(f"{source} does not exist, or is neither a file nor a folder")
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
        content = run_blocking(encode_inline_data, name, inputs, targets, options)
        # Not repeatable: every request creates a new version.
        headers = {"Content-Type": "application/json"}
        response: DatasetVersion = self._transport.request_json(
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
        while (response := self.get_version(name, version))["state"] == "importing":
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"dataset {name} version {version} is still importing after {timeout_s} s")
            sleep(pause_s)
            pause_s = min(pause_s * 1.5, 2.0)
        return response

    def report(self, name: str, version: int) -> dict[str, Any]:
        """Return the import report: class counts, unreadable files, equal and near-equal images, leaks and means."""
        response: dict[str, Any] = self._transport.request_json("GET", f"/v1/datasets/{name}/versions/{version}/report")
        return response

    def preview(self, name: str, version: int) -> bytes:
        """Return a PNG file with a grid of images of the dataset."""
        return (self._transport.request("GET", f"/v1/datasets/{name}/versions/{version}/preview")).content

    def samples(
        self,
        name: str,
        version: int,
        *,
        label: str | None = None,
        split: str | None = None,
        limit: int | None = None,
    ) -> Generator[SampleResponse, None]:
        """Yield the samples of a version with their names, labels and, for tables, values.

        Args:
            name: name of the dataset.
            version: number of the version.
            label: only samples of this class.
            split: only samples of `train`, `valid` or `test`.
            limit: maximum number of samples; default: all.
        """
        path = f"/v1/datasets/{name}/versions/{version}/samples"
        params = {"class": label, "split": split}
        for sample in iterate_items(self._transport, path, params=params, limit=limit):
            yield sample

    def sample_image(self, name: str, version: int, split: str, index: int, *, size: int | None = None) -> bytes:
        """Return the image of a sample as a PNG file. `size` is the longer side in pixels, from 8 to 1024."""
        path = f"/v1/datasets/{name}/versions/{version}/samples/{split}/{index}"
        return (self._transport.request("GET", path, params={"size": size})).content

    def delete(self, name: str, version: int | None = None) -> None:
        """Delete a version and its files (default: all versions). Models that were trained on it remain."""
        path = f"/v1/datasets/{name}" + ("" if version is None else f"/versions/{version}")
        self._transport.request("DELETE", path)

    def describe(self, name: str, version: int | None = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Set the `description` or the `tags` of a dataset, or of a version. Return it."""
        path = f"/v1/datasets/{name}" + ("" if version is None else f"/versions/{version}")
        response: dict[str, Any] = self._transport.request_json("PATCH", path, json=changes)
        return response

    def _upload(
        self,
        name: str,
        archive: Path,
        options: Mapping[str, Any] | None,
        progress: ProgressCallback | None,
        resumable: bool | None,
        on_resumed: ProgressCallback | None,
        identity: tuple[Any, ...],
    ) -> DatasetVersion:
        is_large = archive.stat().st_size >= RESUMABLE_BYTES
        if resumable or (resumable is None and is_large):
            source = UploadSource(archive, name, options or {}, get_media_type(archive), identity)
            uploader = ResumableUploader(self._transport)
            try:
                return uploader.upload(source, progress=progress or _ignore, on_resumed=on_resumed or _ignore)
            except ProblemError as error:
                if resumable or not is_unsupported(error):
                    raise
        url = f"/v1/datasets/{name}/versions"
        response: DatasetVersion = post_file(self._transport, url, archive, options or {}, progress or _ignore)
        return response


def _ignore(_sent: int, _size: int) -> None:
    pass
