"""`/v1/models`: model versions, their lineage and bundles, and aliases. See `predictions.py` for predictions."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Path, Response
from fastapi.responses import StreamingResponse
from typing_extensions import Buffer

from app.api.jobs import IdempotencyKey
from app.api.strict_route import StrictRoute
from app.deps import (
    DownloadThreadsDep,
    ModelDeletionDep,
    ModelReaderDep,
    ModelsDep,
    ModelSubmissionDep,
    ResourceDescriptionsDep,
    TraceparentDep,
)
from app.http.header_values import build_attachment
from app.pagination import Cursor, Limit, Page
from app.schemas.descriptions import DescriptionIn, TagFilter
from app.schemas.examples import MODELS
from app.schemas.jobs import JobOut
from app.schemas.models import AliasIn, ModelIn, ModelOut, ModelVersionOut, ModelVersionSummaryOut
from app.schemas.problems import problem_responses
from app.services.models import ModelService
from core.db.tables import ModelVersionRow
from core.spec.base import NAME_PATTERN
from core.spec.registration import RegistrationFields

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=StrictRoute)

ModelName = Annotated[str, Path(pattern=NAME_PATTERN, description="The name of the model.")]
Alias = Annotated[str, Path(pattern=NAME_PATTERN, description="The name of the alias, such as `champion`.")]
Version = Annotated[int, Path(ge=1, le=2**31 - 1, description="The number of the version.")]
CHUNK = 2**20
MARKDOWN = {
    "text/markdown": {
        "schema": {"type": "string"},
        "example": "# digits, version 3\n\nA classification model with 9,098 parameters, registered on 2026-01-31.\n",
    }
}
ZIP = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}


@router.post("", status_code=202, responses=problem_responses(400, 409, 413, 415, 422))
async def register_model(
    model: Annotated[ModelIn, Body(openapi_examples=MODELS)],
    submission: ModelSubmissionDep,
    traceparent: TraceparentDep,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> JobOut:
    """Register a model without training.

    Submits a job that registers a network with published weights, or with the weights of a file, as a new version of
    the model. When the job has succeeded, the model predicts like any other.
    """
    fields = {field: getattr(model, field) for field in RegistrationFields.model_fields}
    view = await submission.submit_model(model.name, fields, idempotency_key=idempotency_key, traceparent=traceparent)
    response.headers["Location"] = f"/v1/jobs/{view.job.id}"
    return JobOut.from_view(*view)


@router.get("", responses=problem_responses(422))
def list_models(
    models: ModelReaderDep, tag: TagFilter = None, cursor: Cursor = None, limit: Limit = 50
) -> Page[ModelOut]:
    """List models.

    Returns models in alphabetical order, with their newest versions and their aliases.
    """
    views, next_cursor = models.list_models(after=cursor, limit=limit, tags=tag or ())
    return Page(items=[ModelOut.from_view(*view) for view in views], next_cursor=next_cursor)


@router.get("/{name}", responses=problem_responses(404, 422))
def show_model(name: ModelName, models: ModelReaderDep) -> ModelOut:
    """Get a model.

    Returns the newest versions and the aliases of the model.
    """
    return ModelOut.from_view(*models.get_model(name))


@router.patch("/{name}", responses=problem_responses(400, 404, 413, 415, 422))
def update_model(
    name: ModelName, changes: DescriptionIn, models: ModelsDep, descriptions: ResourceDescriptionsDep
) -> ModelOut:
    """Describe a model.

    Sets the description or the tags of the model.
    """
    descriptions.describe_model(name, changes.model_dump(exclude_unset=True))
    return ModelOut.from_view(*models.get_model(name))


@router.delete("/{name}", status_code=204, responses=problem_responses(404, 409, 422))
async def delete_model(name: ModelName, deletion: ModelDeletionDep) -> None:
    """Delete a model.

    Deletes its versions, variants and aliases. Requests that are being computed are still answered. Returns 409 while
    jobs that have not ended require the model; `facts.dependents` lists them. Later versions get new numbers.
    """
    await deletion.delete_model(name)


@router.get("/{name}/versions", responses=problem_responses(404, 422))
def list_model_versions(
    name: ModelName, models: ModelReaderDep, cursor: Cursor = None, limit: Limit = 50
) -> Page[ModelVersionSummaryOut]:
    """List the versions of a model.

    Returns the versions without their lineage, newest first. `versions_cursor` of a model is a cursor of this list.
    """
    versions, next_cursor = models.list_versions(name, cursor=cursor, limit=limit)
    return Page(items=[ModelVersionSummaryOut.from_row(*version) for version in versions], next_cursor=next_cursor)


@router.get("/{name}/versions/{version}", responses=problem_responses(404, 422))
def show_model_version(name: ModelName, version: Version, models: ModelReaderDep) -> ModelVersionOut:
    """Get a model version.

    Returns the lineage of the version: its job, dataset, spec, metrics and the hash of its weights.
    """
    row = models.get_version(name, version)
    return _build_version(row, models)


@router.patch("/{name}/versions/{version}", responses=problem_responses(400, 404, 413, 415, 422))
def update_model_version(
    name: ModelName,
    version: Version,
    changes: DescriptionIn,
    models: ModelsDep,
    descriptions: ResourceDescriptionsDep,
) -> ModelVersionOut:
    """Describe a model version.

    Sets the description or the tags of the version.
    """
    descriptions.describe_model_version(name, version, changes.model_dump(exclude_unset=True))
    return _build_version(models.get_version(name, version), models)


@router.delete("/{name}/versions/{version}", status_code=204, responses=problem_responses(404, 409, 422))
async def delete_model_version(name: ModelName, version: Version, deletion: ModelDeletionDep) -> None:
    """Delete a model version.

    Deletes its variants too. Requests that are being computed are still answered. Returns 409 while an alias refers to
    the version or jobs that have not ended require it; `facts.dependents` lists them. The number is not used again.
    """
    await deletion.delete_version(name, version)


@router.get(
    "/{name}/versions/{version}/bundle",
    response_class=StreamingResponse,
    responses={
        200: {"description": "A zip file with `weights.safetensors` and `bundle.json`.", "content": ZIP},
        **problem_responses(404, 422),
    },
)
async def download_bundle(
    name: ModelName, version: Version, models: ModelReaderDep, threads: DownloadThreadsDep
) -> StreamingResponse:
    """Download a bundle.

    Returns a zip file with the weights, and a description of the network and its preprocessing. These two files are
    sufficient to rebuild the model.
    """
    files = await run_sync(models.fetch_bundle, name, version, limiter=threads)
    headers = {"Content-Disposition": build_attachment(f"{name}-{version}.zip")}
    return StreamingResponse(stream_zip(files), media_type="application/zip", headers=headers)


@router.get(
    "/{name}/versions/{version}/card",
    response_class=Response,
    responses={200: {"description": "The model card.", "content": MARKDOWN}, **problem_responses(404, 422)},
)
def show_model_card(name: ModelName, version: Version, models: ModelReaderDep) -> Response:
    """Get a model card.

    Returns Markdown: the network, its input and classes, its dataset and training, the environment and the metrics, and
    the description of the version.
    """
    return Response(models.build_card(name, version), media_type="text/markdown; charset=utf-8")


@router.put("/{name}/aliases/{alias}", responses=problem_responses(400, 404, 413, 415, 422))
def set_alias(name: ModelName, alias: Alias, target: AliasIn, models: ModelsDep) -> ModelOut:
    """Set an alias.

    Creates the alias, or changes the version or the variant to which the alias refers. Requests are served without
    interruption during the change.
    """
    return ModelOut.from_view(*models.set_alias(name, alias, target.version, target.variant))


@router.delete("/{name}/aliases/{alias}", status_code=204, responses=problem_responses(404, 409, 422))
async def delete_alias(name: ModelName, alias: Alias, deletion: ModelDeletionDep) -> None:
    """Delete an alias.

    The version remains. Without the alias `default`, the name alone refers to the newest version. Returns 409 while
    jobs that wait for their dataset require the alias; `facts.dependents` lists them.
    """
    await deletion.delete_alias(name, alias)


def _build_version(row: ModelVersionRow, models: ModelService) -> ModelVersionOut:
    aliases, variants = models.list_version_aliases(row), models.list_version_variants(row)
    return ModelVersionOut.from_row(row, aliases, variants, models.get_version_description(row))


class _ChunkBuffer(io.RawIOBase):
    """A writable file object for `ZipFile`. `take` returns the written bytes and removes them from the buffer."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, chunk: Buffer) -> int:
        self._chunks.append(bytes(chunk))
        return len(self._chunks[-1])

    def take(self) -> bytes:
        chunk, self._chunks = b"".join(self._chunks), []
        return chunk


def stream_zip(files: list[FilePath]) -> Iterator[bytes]:
    """Yield the chunks of an uncompressed zip archive of the files. Equal files produce equal archives."""
    buffer = _ChunkBuffer()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.name, date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as target, file.open("rb") as source:
                while chunk := source.read(CHUNK):
                    target.write(chunk)
                    yield buffer.take()
    yield buffer.take()
