"""`/v1/jobs/{job_id}/…`: curves, log lines, checkpoints and their weights, files."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response, StreamingResponse

from app.api.downloads import build_file_response
from app.api.jobs import JobId
from app.api.strict_route import StrictRoute
from app.deps import ResultsDep
from app.pagination import Page
from app.schemas.jobs import ArtifactOut, CheckpointOut, LogLineOut, LogsOut, MetricsOut, format_csv
from app.schemas.problems import problem_responses
from core.spec.base import NAME_PATTERN

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], route_class=StrictRoute)

INT64 = 2**63 - 1
Accept = Annotated[str, Header(include_in_schema=False)]
CSV = {"text/csv": {"schema": {"type": "string"}, "example": "split,name,step,epoch,value\ntrain,loss,1,1,2.3\n"}}


@router.get("/metrics", response_model=MetricsOut, responses={200: {"content": CSV}, **problem_responses(404, 422)})
def show_metrics(
    job_id: JobId,
    results: ResultsDep,
    name: Annotated[
        str | None, Query(pattern=NAME_PATTERN, description="Of this metric alone, such as `loss`.")
    ] = None,
    split: Annotated[str | None, Query(pattern="^(train|valid|test)$")] = None,
    since_step: Annotated[int | None, Query(ge=0, le=INT64, description="Only points behind this step.")] = None,
    max_points: Annotated[
        int | None, Query(ge=4, le=100_000, description="Thin each curve to so many points; its extremes stay.")
    ] = None,
    accept: Accept = "*/*",
) -> Any:  # noqa: ANN401 - one of two forms
    """Read the curves of a job, as JSON or, with `Accept: text/csv`, as CSV."""
    series = results.list_metrics(job_id, name=name, split=split, since_step=since_step, max_points=max_points)
    if "text/csv" in accept.lower():
        return StreamingResponse(format_csv(series), media_type="text/csv")
    return MetricsOut.from_series(series)


@router.get(
    "/logs",
    response_model=LogsOut,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **problem_responses(404, 422),
    },
)
def show_logs(
    job_id: JobId,
    results: ResultsDep,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="Only lines behind the event of this number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    accept: Accept = "*/*",
) -> Any:  # noqa: ANN401 - one of two forms
    """Read the trainer's log lines, as text or, with `Accept: application/json`, as JSON."""
    lines = [LogLineOut.from_event(event) for event in results.list_logs(job_id, after=after, limit=limit)]
    if "application/json" in accept.lower():
        return LogsOut(items=lines)
    return PlainTextResponse("".join(f"{line.at.isoformat()} {line.level} {line.message}\n" for line in lines))


@router.get("/checkpoints", responses=problem_responses(404, 422))
def list_checkpoints(job_id: JobId, results: ResultsDep) -> Page[CheckpointOut]:
    """List the stored snapshots of a job, oldest first."""
    return Page(items=[CheckpointOut.from_row(row) for row in results.list_checkpoints(job_id)], next_cursor=None)


FILE = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def build_file_responses(example: str) -> dict[int | str, dict[str, Any]]:
    """What an endpoint that sends a file may answer."""
    return {
        200: {"description": f"The file, such as `{example}`.", "content": FILE},
        206: {"description": "The part that `Range` asks for.", "content": FILE},
        304: {"description": "`If-None-Match` holds the file's ETag."},
        **problem_responses(404, 416, 422),
    }


@router.get(
    "/files/{name}",
    response_class=FileResponse,
    responses=build_file_responses("predictions.csv"),
)
def download_file(
    job_id: JobId, name: Annotated[str, Path(pattern=NAME_PATTERN)], results: ResultsDep, request: Request
) -> Response:
    """Download a file of a job's result; `result.files` names them. `ETag` is its sha256, `Range` goes on."""
    return build_file_response(request, results.fetch_result_file(job_id, name))


@router.get("/artifacts", responses=problem_responses(404, 422))
def list_artifacts(job_id: JobId, results: ResultsDep) -> Page[ArtifactOut]:
    """List the files that a job has left so far, by name: what its callbacks write, what was found."""
    return Page(items=[ArtifactOut.from_file(row) for row in results.list_artifacts(job_id)], next_cursor=None)


@router.get(
    "/artifacts/{name}",
    response_class=FileResponse,
    responses=build_file_responses("metrics.csv"),
)
def download_artifact(
    job_id: JobId, name: Annotated[str, Path(pattern=NAME_PATTERN)], results: ResultsDep, request: Request
) -> Response:
    """Download a file that a job has left. `ETag` is its sha256, `Range` goes on."""
    return build_file_response(request, results.fetch_artifact(job_id, name))


@router.get(
    "/checkpoints/{number}/weights",
    response_class=FileResponse,
    responses={
        200: {"description": "A safetensors file.", "content": FILE},
        206: {"description": "The part that `Range` asks for.", "content": FILE},
        304: {"description": "`If-None-Match` holds the file's ETag."},
        **problem_responses(404, 416, 422),
    },
)
def download_weights(
    job_id: JobId, number: Annotated[int, Path(ge=1, le=2**31 - 1)], results: ResultsDep, request: Request
) -> Response:
    """Download the weights of a checkpoint as safetensors; `ETag` is their sha256, `Range` goes on."""
    return build_file_response(request, results.fetch_weights(job_id, number))
