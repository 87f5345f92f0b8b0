"""`/v1/models`: versions, their lineage and bundles, aliases. Predictions are in `predictions.py`."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import StreamingResponse
from typing_extensions import Buffer

from app.api.strict_route import StrictRoute
from app.deps import ModelReaderDep, ModelsDep
from app.pagination import Cursor, Limit, Page
from app.schemas.models import AliasIn, ModelOut, ModelVersionOut
from app.schemas.problems import problem_responses
from core.spec.base import NAME_PATTERN

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=StrictRoute)

ModelName = Annotated[str, Path(pattern=NAME_PATTERN)]
Alias = Annotated[str, Path(pattern=NAME_PATTERN, description="A movable name such as `champion`.")]
Version = Annotated[int, Path(ge=1, le=2**31 - 1)]
CHUNK = 2**20
ZIP = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}


@router.get("", responses=problem_responses(422))
def list_models(models: ModelReaderDep, cursor: Cursor = None, limit: Limit = 50) -> Page[ModelOut]:
    """List models in alphabetical order, with their versions and aliases."""
    views, next_cursor = models.list_models(after=cursor, limit=limit)
    return Page(items=[ModelOut.from_versions(*view) for view in views], next_cursor=next_cursor)


@router.get("/{name}", responses=problem_responses(404, 422))
def show_model(name: ModelName, models: ModelReaderDep) -> ModelOut:
    """Show a model's versions and aliases."""
    return ModelOut.from_versions(*models.get_model(name))


@router.get("/{name}/versions/{version}", responses=problem_responses(404, 422))
def show_model_version(name: ModelName, version: Version, models: ModelReaderDep) -> ModelVersionOut:
    """Show a version with its lineage: job, dataset, spec, metrics, hash of the weights."""
    row = models.get_version(name, version)
    return ModelVersionOut.from_row(row, models.list_version_aliases(row), models.list_version_variants(row))


@router.get(
    "/{name}/versions/{version}/bundle",
    response_class=StreamingResponse,
    responses={
        200: {"description": "A zip of `weights.safetensors` and `bundle.json`.", "content": ZIP},
        **problem_responses(404, 422),
    },
)
def download_bundle(name: ModelName, version: Version, models: ModelReaderDep) -> StreamingResponse:
    """Download a version: the weights, and what rebuilds the network and prepares its pictures."""
    files = models.fetch_bundle(name, version)
    headers = {"Content-Disposition": f'attachment; filename="{name}-{version}.zip"'}
    return StreamingResponse(stream_zip(files), media_type="application/zip", headers=headers)


@router.put("/{name}/aliases/{alias}", responses=problem_responses(400, 404, 413, 415, 422))
def set_alias(name: ModelName, alias: Alias, to: AliasIn, models: ModelsDep) -> ModelOut:
    """Let an alias stand for a version, or for a variant of it; the switch loses no request."""
    return ModelOut.from_versions(*models.set_alias(name, alias, to.version, to.variant))


class _ChunkBuffer(io.RawIOBase):
    """What the zip writer writes to; nothing is ever kept but the chunk that is on its way."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, chunk: Buffer) -> int:
        self._written.append(bytes(chunk))
        return len(self._written[-1])

    def take(self) -> bytes:
        chunk, self._written = b"".join(self._written), []
        return chunk


def stream_zip(files: list[FilePath]) -> Iterator[bytes]:
    """A zip as it grows; stored, since weights hardly shrink; equal files give equal bytes."""
    pipe = _ChunkBuffer()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.name, date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as into, file.open("rb") as source:
                while chunk := source.read(CHUNK):
                    into.write(chunk)
                    yield pipe.take()
    yield pipe.take()
