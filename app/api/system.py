"""`/v1/system`: what the service runs on."""

from typing import Any

from fastapi import APIRouter

from app.api.strict_route import StrictRoute
from app.deps import SystemDep
from app.schemas.system import SystemOut

router = APIRouter(prefix="/v1/system", tags=["system"], route_class=StrictRoute)


@router.get("", response_model=SystemOut)
def show_system(system: SystemDep) -> Any:  # noqa: ANN401 - read by the response model
    """Show versions, devices, queue depth and workers."""
    return system.get_system()
