"""`/v1/system`: the state of the service, its workers and devices."""

from typing import Any

from fastapi import APIRouter

from app.api.strict_route import StrictRoute
from app.deps import SystemDep
from app.schemas.system import SystemOut

router = APIRouter(prefix="/v1/system", tags=["system"], route_class=StrictRoute)


@router.get("", response_model=SystemOut)
def show_system(system: SystemDep) -> Any:  # noqa: ANN401 - the response model serializes it
    """Get the system state.

    Returns package versions, devices, inference processes, queue depth, workers, disk usage and expired data.
    """
    return system.get_system()
