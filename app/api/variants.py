"""`/v1/models/{name}/versions/{version}/variants`: other forms of a version, made, measured, downloaded, deleted."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request
from fastapi.responses import FileResponse, Response

from app.api.downloads import build_file_response
from app.api.jobs import IdempotencyKey
from app.api.models import ModelName, Version
from app.api.strict_route import StrictRoute
from app.deps import VariantReaderDep, VariantsDep
from app.schemas.examples import VARIANTS
from app.schemas.jobs import JobOut
from app.schemas.problems import problem_responses
from app.schemas.variants import VariantIn, VariantOut, VariantsOut
from core.spec import VariantFormat
from core.spec.base import NAME_PATTERN

router = APIRouter(prefix="/v1/models/{name}/versions/{version}", tags=["models"], route_class=StrictRoute)

Format = Annotated[VariantFormat, Path()]
BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": BINARY},
    206: {"description": "The part that `Range` asks for.", "content": BINARY},
    304: {"description": "`If-None-Match` holds the file's ETag."},
}


@router.post("/variants", status_code=202, responses=problem_responses(400, 404, 409, 413, 415, 422))
def make_variant(
    name: ModelName,
    version: Version,
    wanted: Annotated[VariantIn, Body(openapi_examples=VARIANTS)],
    variants: VariantsDep,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> JobOut:
    """Have another form of a version made: a job exports it and shows both a split.

    It is kept if accuracy falls by no more than `max_drop`, instead of an older one of the same format; else the job
    fails with `accuracy_dropped`.
    """
    options = wanted.model_dump(exclude={"format"})
    view = variants.submit_variant(name, version, wanted.format, options, idempotency_key=idempotency_key)
    response.headers["Location"] = f"/v1/jobs/{view.job.id}"
    return JobOut.from_view(*view)


@router.get("/variants", responses=problem_responses(404, 422))
def list_variants(name: ModelName, version: Version, variants: VariantReaderDep) -> VariantsOut:
    """List the variants of a version with what was measured of them."""
    return VariantsOut(items=[VariantOut.from_row(row) for row in variants.list_variants(name, version)])


@router.get("/variants/{format}", responses=problem_responses(404, 422))
def show_variant(name: ModelName, version: Version, format: Format, variants: VariantReaderDep) -> VariantOut:
    """Show a variant."""
    return VariantOut.from_row(variants.get_variant(name, version, format))


@router.delete("/variants/{format}", status_code=204, responses=problem_responses(404, 409, 422))
def delete_variant(name: ModelName, version: Version, format: Format, variants: VariantsDep) -> None:
    """Delete a variant; 409 while an alias stands for it."""
    variants.delete_variant(name, version, format)


@router.get(
    "/variants/{format}/files/{file}",
    response_class=FileResponse,
    responses={**FILE, **problem_responses(404, 416, 422)},
)
def download_variant_file(
    name: ModelName,
    version: Version,
    format: Format,
    file: Annotated[str, Path(pattern=NAME_PATTERN)],
    variants: VariantReaderDep,
    request: Request,
) -> Response:
    """Download a file of a variant; `files` names them. `ETag` is its sha256, `Range` goes on."""
    return build_file_response(request, variants.fetch_file(name, version, format, file))


@router.get("/export", response_class=FileResponse, responses={**FILE, **problem_responses(404, 416, 422)})
def export_model(
    name: ModelName,
    version: Version,
    format: Annotated[VariantFormat, Query(description="A variant that was made before.")],
    variants: VariantReaderDep,
    request: Request,
) -> Response:
    """Download the network in another form: uint8 pixels (batch, height, width, channels) in, raw scores out.

    A job makes the file first: `POST …/variants` with the same format.
    """
    return build_file_response(request, variants.fetch_file(name, version, format))
