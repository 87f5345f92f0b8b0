"""Checks a received upload in a thread, until the client leaves."""

from typing import TypeVar

from fastapi import HTTPException, Request

from app.http.cancellation import CLIENT_CLOSED_REQUEST
from app.services.upload_threads import Inspection, run_inspection
from core.datasets.archives.budget import InspectionCancelled

Result = TypeVar("Result")


async def inspect_upload(request: Request, inspection: Inspection[Result]) -> Result:
    """Run an inspection in a thread and return its result. Call this after reading the body.

    Raises:
        HTTPException: 499, the client left before the inspection ended.
    """
    try:
        return await run_inspection(inspection, _wait_for_disconnect(request))
    except InspectionCancelled:
        raise HTTPException(CLIENT_CLOSED_REQUEST, "The client disconnected.") from None


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
