"""Checks a received upload, or compares dataset versions, in a thread until the client leaves."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import HTTPException, Request

from app.http.cancellation import CLIENT_CLOSED_REQUEST
from app.services.upload_threads import Inspection, run_comparison, run_inspection
from core.datasets.archives.budget import InspectionCancelled

Result = TypeVar("Result")


async def inspect_upload(request: Request, inspection: Inspection[Result]) -> Result:
    """Run an inspection in a thread and return its result. Call this after reading the body.

    Raises:
        HTTPException: 499, the client left before the inspection ended.
    """
    return await _raise_if_cancelled(run_inspection(inspection, _wait_for_disconnect(request)))


async def compare_in_thread(request: Request, comparison: Inspection[Result]) -> Result:
    """Run a comparison of dataset versions in a thread and return its result.

    Raises:
        HTTPException: 499, the client left before the comparison ended.
    """
    return await _raise_if_cancelled(run_comparison(comparison, _wait_for_disconnect(request)))


async def _raise_if_cancelled(work: Coroutine[Any, Any, Result]) -> Result:
    try:
        return await work
    except InspectionCancelled:
        raise HTTPException(CLIENT_CLOSED_REQUEST, "The client disconnected.") from None


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
