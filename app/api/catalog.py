"""`/v1/catalog`: the components that a job spec may use."""

from typing import Any

from fastapi import APIRouter

from app.api.strict_route import StrictRoute
from app.deps import ArchitecturesDep
from app.schemas.catalog import CatalogOut
from app.schemas.problems import problem_responses
from app.services.catalog import build_catalog

router = APIRouter(prefix="/v1/catalog", tags=["catalog"], route_class=StrictRoute)


@router.get("", response_model=CatalogOut, responses=problem_responses(503))
def show_catalog(architectures: ArchitecturesDep) -> Any:  # noqa: ANN401 - the response model serializes it
    """List the catalog.

    The catalog contains the components that a job spec may use: architectures, optimizers, schedules, losses, metrics,
    transforms, callbacks and built-in datasets. Each entry has the JSON Schema of its options.
    """
    return build_catalog(architectures.list_architectures())
