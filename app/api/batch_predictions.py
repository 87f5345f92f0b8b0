"""`POST /v1/models/{ref}/predictions`: batch prediction of the images in an archive, as a job."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.api.datasets import stream_upload
from app.api.predictions import ModelRef
from app.api.strict_route import StrictRoute
from app.api.upload_inspection import inspect_upload
from app.deps import BatchPredictionsDep, StorageDep, TraceparentDep
from app.schemas.jobs import JobOut
from app.schemas.problems import problem_responses
from app.services.uploads import save_upload

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=StrictRoute)

_FILE = {"type": "string", "format": "binary", "description": "A zip, tar or tar.gz archive."}
_FORM = {"type": "object", "properties": {"file": _FILE}, "required": ["file"], "additionalProperties": False}
_RAW = ("application/zip", "application/x-tar", "application/gzip", "application/octet-stream")
ARCHIVE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A zip, tar or tar.gz archive of images, with or without folders.",
        "content": {"multipart/form-data": {"schema": _FORM}, **{kind: {"schema": _FILE} for kind in _RAW}},
    }
}


@router.post(
    "/{ref}/predictions",
    status_code=202,
    responses=problem_responses(400, 404, 409, 413, 422, 507),
    openapi_extra=ARCHIVE_BODY,
)
async def predict_archive(
    ref: ModelRef,
    request: Request,
    response: Response,
    batch_predictions: BatchPredictionsDep,
    storage: StorageDep,
    traceparent: TraceparentDep,
    top_k: Annotated[int, Query(ge=1, le=1000, description="Number of classes to return per image.")] = 5,
    batch_size: Annotated[int, Query(ge=1, le=65_536, description="Number of images per batch.")] = 256,
) -> JobOut:
    """Predict the images of an archive.

    Submits a job whose result files are `predictions.csv` and `predictions.jsonl`, each with one row per image. The
    format of the archive is detected from its first bytes. Images are JPEG, PNG, WEBP, GIF, BMP or TIFF files; other
    files are ignored.
    Each row contains the image's name in the archive. The row of an image that cannot be decoded contains an `error`.
    The archive is deleted when the job ends.
    """
    async with save_upload(storage, stream_upload(request)) as archive:
        view = await batch_predictions.submit_archive(
            ref,
            archive,
            top_k=top_k,
            batch_size=batch_size,
            traceparent=traceparent,
            run_inspection=partial(inspect_upload, request),
        )
    response.headers["Location"] = f"/v1/jobs/{view.job.id}"
    return JobOut.from_view(*view)
