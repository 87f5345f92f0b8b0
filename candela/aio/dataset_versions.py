"""Edits, compares and exports dataset versions."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from candela.aio.transport import AsyncTransport
from candela.synonyms import SuggestsNames
from candela.types import DatasetComparison, DatasetVersion

LONG_TIMEOUT_S = 600.0  # the server reads all samples before it responds


class AsyncDatasetVersions(SuggestsNames):
    """The methods of `client.datasets` that create or compare versions."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def edit(
        self, name: str, version: int, operations: Sequence[Mapping[str, Any]], *, new_name: str | None = None
    ) -> DatasetVersion:
        """Create a new version by editing a version, without an upload. The import continues after this call.

        Args:
            name: name of the dataset.
            version: number of the version to edit, which does not change.
            operations: operations in order, such as `{"kind": "drop_blank"}` or
                `{"kind": "relabel", "samples": ["cat/1.png"], "label": "dog"}`.
            new_name: name of the dataset that gets the new version; default: `name`. Required for a built-in dataset.

        Raises:
            ProblemError: an operation is invalid; the pointers in `errors` locate it.
        """
        body: dict[str, Any] = {"operations": [dict(operation) for operation in operations]}
        if new_name is not None:
            body["name"] = new_name
        url = f"/v1/datasets/{name}/versions/{version}/edits"
        # Not repeatable: every request creates a new version.
        response: DatasetVersion = await self._transport.request_json("POST", url, json=body, repeatable=False)
        return response

    async def diff(
        self, name: str, base: int, version: int, *, base_name: str | None = None, by: str = "content"
    ) -> DatasetComparison:
        """Return what differs between two versions: counts per split and class, and the first 100 samples of each kind.

        Args:
            name: name of the dataset.
            base: number of the base version.
            version: number of the version that is compared with the base version.
            base_name: dataset of the base version; default: `name`.
            by: `content` compares pixels or numbers; `names` compares names only, which is fast for large datasets.
        """
        params = {"base": base, "by": by, "base_name": base_name}
        url = f"/v1/datasets/{name}/versions/{version}/diff"
        response: DatasetComparison = await self._transport.request_json(
            "GET", url, params=params, timeout=LONG_TIMEOUT_S
        )
        return response

    async def export(
        self,
        name: str,
        version: int,
        path: str | os.PathLike[str],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> Path:
        """Download a version as a zip archive of PNG files or CSV files. Return the path of the archive.

        Args:
            name: name of the dataset.
            version: number of the version.
            path: file to write, or a folder, in which the file is called `name-version.zip`.
            progress: function that is called with the number of received bytes.
        """
        url = f"/v1/datasets/{name}/versions/{version}/export"
        return await self._transport.download(
            url, path, f"{name}-{version}.zip", progress=progress, timeout=LONG_TIMEOUT_S
        )
