"""`/health/…` and `/metrics`: for load balancers and Prometheus."""

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from app.api.strict_route import StrictRoute
from app.deps import ReadinessDep, SystemDep
from app.http import metrics
from app.schemas.problems import problem_responses
from app.schemas.system import LiveOut, ReadyOut
from core.errors import Unavailable

router = APIRouter(tags=["health"], route_class=StrictRoute)

TEXT = {"text/plain": {"schema": {"type": "string"}}}


@router.get("/health/live")
def is_live() -> LiveOut:
    """Say that the process lives; restart it when this fails."""
    return LiveOut(status="live")


@router.get("/health/ready", responses=problem_responses(503))
def is_ready(readiness: ReadinessDep) -> ReadyOut:
    """Say whether database, schema, storage and queue can be used; send no requests here while they cannot."""
    if reasons := readiness.collect_reasons():
        raise Unavailable("; ".join(f"{part}: {reason}" for part, reason in reasons.items()), reasons=reasons)
    return ReadyOut(status="ready")


@router.get(
    "/metrics", response_class=PlainTextResponse, responses={200: {"description": "Prometheus' text.", "content": TEXT}}
)
def show_prometheus_metrics(system: SystemDep) -> Response:
    """Give jobs by state, queue depth, requests and latencies to Prometheus."""
    for state, count in system.count_jobs().items():
        metrics.JOBS.labels(state).set(count)
    return Response(metrics.render_exposition(), media_type=CONTENT_TYPE_LATEST)
