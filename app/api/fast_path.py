"""`…/predict` of a model as the endpoint that is found first."""

import re
from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from app.api.predictions import REF_PATTERN, predict
from app.http.fast_path import FastRoute
from app.problems import to_response
from app.services.prediction.predictions import PredictionService


async def _predict(request: Request) -> Response:
    predictions = cast("PredictionService", request.scope["state"]["predictions"])
    return await predict(request.path_params["ref"], request, predictions)


PREDICT = FastRoute(
    "/v1/models/{ref}/predict",
    re.compile(f"/v1/models/(?P<ref>{REF_PATTERN.removeprefix('^').removesuffix('$')})/predict"),
    _predict,
    to_response,
)
