"""`/v1/models/{name}/versions/{version}/variants`: optimized and exported forms of a model version."""

from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Path, Query, Request
from fastapi.responses import FileResponse, Response

from app.api.downloads import build_file_response, describe_file_responses
from app.api.jobs import IdempotencyKey
from app.api.models import ModelName, Version
from app.api.strict_route import StrictRoute
from app.deps import DownloadThreadsDep, TraceparentDep, VariantReaderDep, VariantsDep, VariantSubmissionDep
from app.schemas.examples import VARIANTS
from app.schemas.jobs import JobOut
from app.schemas.problems import problem_responses
from app.schemas.variants import VariantIn, VariantOut, VariantsOut
from core.spec import VariantFormat
from core.spec.base import NAME_PATTERN

router = APIRouter(prefix="/v1/models/{name}/versions/{version}", tags=["models"], route_class=StrictRoute)

Format = Annotated[VariantFormat, Path(description="The format of the variant.")]


@router.post("/variants", status_code=202, responses=problem_responses(400, 404, 409, 413, 415, 422))
async def make_variant(
    name: ModelName,
    version: Version,
    variant: Annotated[VariantIn, Body(openapi_examples=VARIANTS)],
    submission: VariantSubmissionDep,
    traceparent: TraceparentDep,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> JobOut:
    """Create a variant.

    Submits a job that exports the version as a variant and evaluates the version and the variant on a split. If the
    metric of the variant is lower by at most `max_drop`, the variant is stored and replaces an older variant of the
    same format. Otherwise the job fails with the code `accuracy_dropped`. With the format `auto`, the job tries `onnx`,
    `openvino` and `int8`, and stores the fastest one that is accurate enough and faster than the version. If there is
    none, the job succeeds and stores no variant. `candidates` of its result has the outcome of each format.
    """
    options = variant.model_dump(exclude={"format", "dataset"}) | {"dataset": variant.dataset}
    view = await submission.submit_variant(
        name, version, variant.format, options, idempotency_key=idempotency_key, traceparent=traceparent
    )
    response.headers["Location"] = f"/v1/jobs/{view.job.id}"
    return JobOut.from_view(*view)


@router.get("/variants", responses=problem_responses(404, 422))
def list_variants(name: ModelName, version: Version, variants: VariantReaderDep) -> VariantsOut:
    """List the variants of a version.

    Returns each variant with its evaluation and its speed.
    """
    return VariantsOut(items=[VariantOut.from_row(row) for row in variants.list_variants(name, version)])


@router.get("/variants/{format}", responses=problem_responses(404, 422))
def show_variant(name: ModelName, version: Version, format: Format, variants: VariantReaderDep) -> VariantOut:
    """Get a variant.

    Returns its files, its evaluation and its speed.
    """
    return VariantOut.from_row(variants.get_variant(name, version, format))


@router.delete("/variants/{format}", status_code=204, responses=problem_responses(404, 409, 422))
def delete_variant(name: ModelName, version: Version, format: Format, variants: VariantsDep) -> None:
    """Delete a variant.

    Returns 409 while an alias refers to the variant.
    """
    variants.delete_variant(name, version, format)


@router.get(
    "/variants/{format}/files/{file}",
    response_class=FileResponse,
    responses=describe_file_responses("network.onnx"),
)
async def download_variant_file(
    name: ModelName,
    version: Version,
    format: Format,
    file: Annotated[str, Path(pattern=NAME_PATTERN, description="The name of the file.")],
    variants: VariantReaderDep,
    request: Request,
    threads: DownloadThreadsDep,
) -> Response:
    """Download a file of a variant.

    The field `files` of the variant lists the files. The `ETag` is the file's sha256; `Range` resumes an interrupted
    download.
    """
    return build_file_response(
        request, await run_sync(variants.fetch_file, name, version, format, file, limiter=threads)
    )


@router.get("/export", response_class=FileResponse, responses=describe_file_responses("network.onnx"))
async def export_model(
    name: ModelName,
    version: Version,
    format: Annotated[VariantFormat, Query(description="The format of an existing variant.")],
    variants: VariantReaderDep,
    request: Request,
    threads: DownloadThreadsDep,
) -> Response:
    """Export a model version.

    Downloads the network in the format of a variant. Create the variant first with `POST …/variants`. The input of the
    network is uint8, (batch, height, width, channels); the output is raw scores.
    """
    return build_file_response(request, await run_sync(variants.fetch_file, name, version, format, limiter=threads))
