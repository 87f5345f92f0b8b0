"""Predictions of a model before any other route is looked at: the same endpoint, without what its route costs."""

import re
from typing import cast

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from app.api.predictions import REF_PATTERN, predict
from app.services.predictions import PredictionService

PATH = "/v1/models/{ref}/predict"
_PATH = re.compile(f"/v1/models/(?P<ref>{REF_PATTERN.removeprefix('^').removesuffix('$')})/predict")


class HotRoute(Route):
    """Takes what needs no validation; a query, another method or a strange name is left to the documented route."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["query_string"]:
            return Match.NONE, {}
        match = _PATH.fullmatch(str(scope["path"]).removeprefix(scope.get("root_path", "")))
        if match is None:
            return Match.NONE, {}
        return Match.FULL, {"endpoint": self.endpoint, "path_params": match.groupdict(), "route": self}


async def _predict(request: Request) -> Response:
    predictions = cast("PredictionService", request.scope["state"]["predictions"])
    return await predict(request.path_params["ref"], request, predictions)


def install(app: FastAPI) -> None:
    """Let predictions be found first."""
    app.router.routes.insert(0, HotRoute(PATH, _predict, methods=["POST"], include_in_schema=False))
