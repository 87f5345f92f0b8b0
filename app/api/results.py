"""`/v1/jobs/{job_id}/…`: metrics, logs, checkpoints and their weights, artifacts and result files."""

from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response, StreamingResponse

from app.api.downloads import build_file_response, describe_file_responses
from app.api.jobs import JobId
from app.api.strict_route import StrictRoute
from app.deps import DownloadThreadsDep, ResultsDep
from app.pagination import Page
from app.schemas.jobs import ArtifactOut, CheckpointOut, LogLineOut, LogsOut, MetricsOut, format_csv
from app.schemas.problems import problem_responses
from app.schemas.usage import UsageOut
from core.spec.base import NAME_PATTERN

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], route_class=StrictRoute)

INT64 = 2**63 - 1
Accept = Annotated[str, Header(include_in_schema=False)]
FileName = Annotated[str, Path(pattern=NAME_PATTERN, description="The name of the file.")]
CheckpointNumber = Annotated[int, Path(ge=1, le=2**31 - 1, description="The number of the checkpoint.")]
CSV = {"text/csv": {"schema": {"type": "string"}, "example": "split,name,step,epoch,value\ntrain,loss,1,1,2.3\n"}}


@router.get("/metrics", response_model=MetricsOut, responses={200: {"content": CSV}, **problem_responses(404, 422)})
def show_metrics(
    job_id: JobId,
    results: ResultsDep,
    name: Annotated[str | None, Query(pattern=NAME_PATTERN, description="Only this metric, such as `loss`.")] = None,
    split: Annotated[str | None, Query(pattern="^(train|valid|test)$", description="Only this split.")] = None,
    since_step: Annotated[int | None, Query(ge=0, le=INT64, description="Only points after this step.")] = None,
    max_points: Annotated[
        int | None,
        Query(
            ge=4,
            le=100_000,
            description="Downsample each series to at most this many points. The minimum and the maximum of the series "
            "are kept.",
        ),
    ] = None,
    accept: Accept = "*/*",
) -> Any:  # noqa: ANN401 - JSON or text
    """Get the metrics of a job.

    Returns JSON or, with `Accept: text/csv`, CSV.
    """
    series = results.list_metrics(job_id, name=name, split=split, since_step=since_step, max_points=max_points)
    if "text/csv" in accept.lower():
        return StreamingResponse(format_csv(series), media_type="text/csv")
    return MetricsOut.from_series(series)


@router.get("/usage", responses=problem_responses(404, 422))
def show_usage(
    job_id: JobId,
    results: ResultsDep,
    max_points: Annotated[
        int, Query(ge=4, le=10_000, description="Downsample each series to at most this many samples.")
    ] = 1000,
) -> UsageOut:
    """Get the usage of a job.

    Returns processor time, memory, waiting time and throughput of its training. `GET /v1/metrics` with `split=usage`
    returns the same series of several jobs on one grid.
    """
    return UsageOut.from_series(results.list_usage(job_id, max_points=max_points))


@router.get(
    "/logs",
    response_model=LogsOut,
    responses={
        200: {
            "content": {
                "text/plain": {
                    "schema": {"type": "string"},
                    "example": "2026-01-01T00:00:00+00:00 info Epoch 1/2: train loss 0.41; lr 0.001; 1.2 s.\n",
                }
            }
        },
        **problem_responses(404, 422),
    },
)
def show_logs(
    job_id: JobId,
    results: ResultsDep,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="Only lines after the event with this number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Maximum number of lines.")] = 10_000,
    last: Annotated[
        int | None, Query(ge=1, le=10_000, description="Only so many of the newest lines, oldest first.")
    ] = None,
    accept: Accept = "*/*",
) -> Any:  # noqa: ANN401 - JSON or text
    """Get the logs of a job.

    Returns text or, with `Accept: application/json`, JSON. The lines say what each attempt used, and list its epochs,
    checkpoints, warnings and outcome.
    """
    events = results.list_logs(job_id, after=after, limit=limit, last=last)
    lines = [LogLineOut.from_event(event) for event in events]
    if "application/json" in accept.lower():
        return LogsOut(items=lines)
    return PlainTextResponse("".join(f"{line.at.isoformat()} {line.level} {line.message}\n" for line in lines))


@router.get("/checkpoints", responses=problem_responses(404, 422))
def list_checkpoints(job_id: JobId, results: ResultsDep) -> Page[CheckpointOut]:
    """List the checkpoints of a job.

    Returns checkpoints with their sizes and hashes, oldest first.
    """
    return Page(items=[CheckpointOut.from_row(row) for row in results.list_checkpoints(job_id)], next_cursor=None)


@router.get(
    "/files/{name}",
    response_class=FileResponse,
    responses=describe_file_responses("predictions.csv", has_data=True),
)
async def download_file(
    job_id: JobId, name: FileName, results: ResultsDep, request: Request, threads: DownloadThreadsDep
) -> Response:
    """Download a result file.

    The field `result.files` of the job lists the files. CSV files have the type `text/csv`, JSON lines
    `application/x-ndjson`. The `ETag` is the file's sha256; `Range` resumes an interrupted
    download.
    """
    file = await run_sync(results.fetch_result_file, job_id, name, limiter=threads)
    return build_file_response(request, file, file.media_type)


@router.get("/artifacts", responses=problem_responses(404, 422))
def list_artifacts(job_id: JobId, results: ResultsDep) -> Page[ArtifactOut]:
    """List the artifacts of a job.

    Returns the result files of the job and the files that its callbacks have written so far, sorted by name.
    """
    return Page(items=[ArtifactOut.from_file(row) for row in results.list_artifacts(job_id)], next_cursor=None)


@router.get(
    "/artifacts/{name}",
    response_class=FileResponse,
    responses=describe_file_responses("metrics.csv", has_data=True),
)
async def download_artifact(
    job_id: JobId, name: FileName, results: ResultsDep, request: Request, threads: DownloadThreadsDep
) -> Response:
    """Download an artifact.

    JSON artifacts have the type `application/json`, CSV files `text/csv`, JSON lines `application/x-ndjson`, and others
    `application/octet-stream`. The `ETag` is the file's sha256; `Range` resumes an interrupted download.
    """
    file = await run_sync(results.fetch_artifact, job_id, name, limiter=threads)
    return build_file_response(request, file, file.media_type)


@router.get(
    "/checkpoints/{number}/weights",
    response_class=FileResponse,
    responses=describe_file_responses("weights.safetensors"),
)
async def download_weights(
    job_id: JobId, number: CheckpointNumber, results: ResultsDep, request: Request, threads: DownloadThreadsDep
) -> Response:
    """Download the weights of a checkpoint.

    Returns a safetensors file. The `ETag` is the file's sha256; `Range` resumes an interrupted download.
    """
    return build_file_response(request, await run_sync(results.fetch_weights, job_id, number, limiter=threads))
