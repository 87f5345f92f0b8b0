"""Registers and lists models, sets aliases, creates variants, and downloads bundles and exports."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from candela.aio.jobs import AsyncJob, dry_run_reproduction, submit_reproduction
from candela.aio.model_predictions import AsyncModelPredictions
from candela.aio.pagination import iterate_items, list_items

Json = dict[str, Any]


class AsyncModels(AsyncModelPredictions):
    """The models of a server, available as `client.models`.

    A `ref` is `name` (the default version), `name@3` or `name@alias`.
    """

    async def list(self, *, tag: str | None = None) -> list[Json]:
        """Return the models with their newest versions and their aliases, or only those with a tag."""
        return await list_items(self._transport, "/v1/models", params={"tag": tag})

    async def get(self, name: str) -> Json:
        """Return the newest versions and the aliases of a model."""
        return await self._get(f"/v1/models/{name}")

    async def versions(self, name: str, *, limit: int | None = None) -> Sequence[Json]:
        """Return at most `limit` versions of a model, newest first; default: all."""
        items = iterate_items(self._transport, f"/v1/models/{name}/versions", limit=limit)
        return [version async for version in items]

    async def get_version(self, name: str, version: int) -> Json:
        """Return one version with its job, dataset, spec, metrics and the sha256 of its weights."""
        return await self._get(f"/v1/models/{name}/versions/{version}")

    async def lineage(self, name: str, version: int) -> Json:
        """Return everything on which a version depends, as a graph of jobs, datasets, models and checkpoints."""
        return await self._get(f"/v1/models/{name}/versions/{version}/lineage")

    async def card(self, name: str, version: int) -> str:
        """Return the model card of a version in Markdown."""
        response = await self._transport.request("GET", f"/v1/models/{name}/versions/{version}/card")
        return response.text

    async def reproduce(
        self,
        name: str,
        version: int,
        changes: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> AsyncJob:
        """Submit a job that repeats the training of a version, and return it (see `Job.reproduce`)."""
        path = f"/v1/models/{name}/versions/{version}"
        return await submit_reproduction(self._transport, path, changes, idempotency_key)

    async def dry_run_reproduction(self, name: str, version: int, changes: Mapping[str, Any] | None = None) -> Json:
        """Return what `reproduce` would submit (see `Job.dry_run_reproduction`)."""
        return await dry_run_reproduction(self._transport, f"/v1/models/{name}/versions/{version}", changes)

    async def register(
        self,
        name: str,
        architecture: str | Mapping[str, Any],
        weights: str = "pretrained",
        **options: Any,  # noqa: ANN401 - JSON
    ) -> AsyncJob:
        """Register a network with existing weights as a model, without training. Return the job; `wait` waits for it.

        Args:
            name: the name of the model.
            architecture: the name of the architecture, or a mapping with `name` and options.
            weights: `pretrained`, or `file:<name>` for a file in the weights folder of the workers.
            **options: `image_shape`, `classes`, `mean`, `std` and `resize`. Default: those of the published weights.
        """
        chosen = {"name": architecture} if isinstance(architecture, str) else dict(architecture)
        body = {"name": name, "architecture": chosen, "weights": weights, **options}
        return AsyncJob(self._transport, await self._transport.request_json("POST", "/v1/models", json=body))

    async def set_alias(self, name: str, alias: str, version: int, *, variant: str | None = None) -> Json:
        """Set an alias such as `champion` to a version or one of its variants. Return the model."""
        body = {"version": version} | ({} if variant is None else {"variant": variant})
        response: Json = await self._transport.request_json("PUT", f"/v1/models/{name}/aliases/{alias}", json=body)
        return response

    async def delete_alias(self, name: str, alias: str) -> None:
        """Delete an alias. Its version remains."""
        await self._transport.request("DELETE", f"/v1/models/{name}/aliases/{alias}")

    async def delete(self, name: str, version: int | None = None) -> None:
        """Delete a version with its variants (default: the model with all versions and aliases)."""
        path = f"/v1/models/{name}" + ("" if version is None else f"/versions/{version}")
        await self._transport.request("DELETE", path)

    async def describe(self, name: str, version: int | None = None, **changes: Any) -> Json:  # noqa: ANN401 - JSON
        """Set the `description` or the `tags` of a model, or of a version. Return it."""
        path = f"/v1/models/{name}" + ("" if version is None else f"/versions/{version}")
        response: Json = await self._transport.request_json("PATCH", path, json=changes)
        return response

    async def create_variant(self, name: str, version: int, format: str, **options: Any) -> AsyncJob:  # noqa: ANN401 - JSON
        """Submit a job that creates a variant, and return the job. `options` are options of the variant.

        The format `auto` stores the fastest of `onnx`, `openvino` and `int8` that is accurate enough, if it is faster
        than the model. `candidates` of the job's result has the outcome of each of them.
        """
        body = {"format": format, **options}
        path = f"/v1/models/{name}/versions/{version}/variants"
        return AsyncJob(self._transport, await self._transport.request_json("POST", path, json=body))

    async def variants(self, name: str, version: int) -> Sequence[Json]:
        """Return the variants of a version with their measurements."""
        return list((await self._get(f"/v1/models/{name}/versions/{version}/variants"))["items"])

    async def get_variant(self, name: str, version: int, format: str) -> Json:
        """Return one variant with its measurements and files."""
        return await self._get(f"/v1/models/{name}/versions/{version}/variants/{format}")

    async def delete_variant(self, name: str, version: int, format: str) -> None:
        """Delete a variant and its files."""
        await self._transport.request("DELETE", f"/v1/models/{name}/versions/{version}/variants/{format}")

    async def download_variant_file(
        self, name: str, version: int, format: str, file: str, path: str | os.PathLike[str]
    ) -> Path:
        """Download a file of a variant. Return the path of the file."""
        url = f"/v1/models/{name}/versions/{version}/variants/{format}/files/{file}"
        return await self._transport.download(url, path, file)

    async def export(self, name: str, version: int, format: str, path: str | os.PathLike[str]) -> Path:
        """Download the network in the format of an existing variant, for example `onnx`. Return the path of the file.

        In a folder, the file is called, for example, `digits-3.onnx`.
        """
        url = f"/v1/models/{name}/versions/{version}/export"
        return await self._transport.download(url, path, f"{name}-{version}.{format}", params={"format": format})

    async def download_bundle(self, name: str, version: int, path: str | os.PathLike[str]) -> Path:
        """Download a version as a zip of `weights.safetensors` and `bundle.json`. Return the path of the zip."""
        url = f"/v1/models/{name}/versions/{version}/bundle"
        return await self._transport.download(url, path, f"{name}-{version}.zip")

    async def _get(self, path: str) -> Json:
        response: Json = await self._transport.request_json("GET", path)
        return response
