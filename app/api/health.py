"""`/health/…` and `/metrics`: endpoints for load balancers and Prometheus."""

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

TEXT = {
    "text/plain": {
        "schema": {"type": "string"},
        "example": '# TYPE candela_jobs gauge\ncandela_jobs{state="queued"} 2.0\n',
    }
}


@router.get("/health/live")
def check_liveness() -> LiveOut:
    """Check liveness.

    An orchestrator should restart the process if this check fails.
    """
    return LiveOut(status="live")


@router.get("/health/ready", responses=problem_responses(503))
def check_readiness(readiness: ReadinessDep) -> ReadyOut:
    """Check readiness.

    Checks the database and its schema, the storage, the queue and the inference processes. While this check fails,
    route requests to other replicas.
    """
    if reasons := readiness.collect_reasons():
        raise Unavailable("; ".join(f"{part}: {reason}" for part, reason in reasons.items()), reasons=reasons)
    return ReadyOut(status="ready")


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"description": "Metrics in Prometheus' text format.", "content": TEXT}},
)
def show_prometheus_metrics(system: SystemDep) -> Response:
    """Get Prometheus metrics.

    Returns the number of jobs per state, the resource usage of workers, and metrics of requests, latencies and
    predictions, in Prometheus' text format.
    """
    for state, count in system.count_jobs().items():
        metrics.JOBS.labels(state).set(count)
    metrics.set_worker_usage(system.sum_worker_usage())
    return Response(metrics.render_exposition(), media_type=CONTENT_TYPE_LATEST)
