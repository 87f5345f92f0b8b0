"""`POST /v1/models/{ref}/predictions`: an archive of pictures, answered by a job."""

from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request, Response

from app.api.datasets import stream_upload
from app.api.predictions import ModelRef
from app.api.strict_route import StrictRoute
from app.deps import BatchPredictionsDep, StorageDep
from app.schemas.jobs import JobOut
from app.schemas.problems import problem_responses
from app.services.uploads import save_upload

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=StrictRoute)

_FILE = {"type": "string", "format": "binary"}
_FORM = {"type": "object", "properties": {"file": _FILE}, "required": ["file"], "additionalProperties": False}
_RAW = ("application/zip", "application/x-tar", "application/gzip", "application/octet-stream")
ARCHIVE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A zip, tar or tar.gz of pictures, in folders or not.",
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
    archives: BatchPredictionsDep,
    storage: StorageDep,
    top_k: Annotated[int, Query(ge=1, le=1000, description="How many classes to name for each picture.")] = 5,
    batch_size: Annotated[int, Query(ge=1, le=65_536)] = 256,
) -> JobOut:
    """Predict all pictures of an archive: a job, whose files are `predictions.csv` and `predictions.jsonl`.

    The archive is told by its first bytes. Pictures are JPEG, PNG or WEBP, named as in the archive; one that cannot be
    read has an `error` in its line, other files are left out. The archive is deleted when the job is done.
    """
    async with save_upload(storage, stream_upload(request)) as archive:
        view = await run_sync(lambda: archives.submit_archive(ref, archive, top_k=top_k, batch_size=batch_size))
    response.headers["Location"] = f"/v1/jobs/{view.job.id}"
    return JobOut.from_view(*view)
