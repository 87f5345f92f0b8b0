"""The target that reads the JSON of prediction, embedding and explanation requests."""

import base64
from typing import Any

import numpy as np
import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app.api.predict_request import REQUEST_BODY, parse_predict_body
from app.serving.decoding import PixelValues, parse_pixel_values
from app.serving.table_input import encode_rows
from core.datasets.columns import MAX_FLOAT32
from core.errors import ServiceError
from core.images import decode_image
from tests.fuzz.mutations import mutate_json
from tests.fuzz.target import FuzzTarget
from tests.fuzz.targets.documents import JSON_TOKENS
from tests.fuzz.targets.errors import check_problem, run_coroutine
from tests.fuzz.targets.requests import IMAGE_SHAPES, TABLES, build_request
from tests.support import hostile_json
from tests.support.images import random_png

MAX_VALUES = 10_000


async def _get_max_values() -> int:
    return MAX_VALUES


def parse_prediction(body: bytes) -> None:
    """Parse a request, and encode its instances as input of models of images, rows and windows."""
    request = build_request("/v1/models/digits/predict", body, "application/json")
    try:
        parsed = run_coroutine(parse_predict_body(request, _get_max_values))
    except (ServiceError, HTTPException, RequestValidationError) as error:
        check_problem(error)
        return
    assert parsed.instances
    for table in TABLES:
        encoded = encode_rows(parsed.instances, table)
        assert len(encoded) == len(parsed.instances)
        for instance in encoded:
            if isinstance(instance, ServiceError):
                check_problem(instance)
            else:
                assert instance.shape == table.sample_shape
                assert (np.isnan(instance) | (np.abs(instance) <= MAX_FLOAT32)).all()
    for image in parsed.instances[:4]:
        _decode_instance(image)


def _decode_instance(image: object) -> None:
    for shape in IMAGE_SHAPES:
        try:
            match image:
                case bytes():
                    decode_image(image, shape)
                case PixelValues():
                    parse_pixel_values(image, shape)
                case ServiceError():
                    raise image
                case _:
                    pass
        except ServiceError as error:
            check_problem(error)


def build_predictions() -> list[bytes]:
    """Return valid and invalid requests."""
    png = base64.b64encode(random_png(1, height=2, width=2)).decode()
    examples = REQUEST_BODY["content"]["application/json"]["examples"].values()
    documents: list[dict[str, Any]] = [example["value"] for example in examples]
    documents += [
        {"instances": [{"image": png}, {"values": [0, 1, 2, 255]}, {"values": [[0, 1.5], [2, 3]]}], "top_k": 2},
        {"instances": [{"values": [[[1, 2, 3]] * 3] * 2}]},
        {"rows": [{"size": 1.5, "island": "Dream", "weight": 3}, {"size": None, "island": True, "sex": "NA"}]},
        {"rows": [{"size": 1e39}, {"sizes": 1}, {}]},
        {"instances": [{"values": [[1.5, -2], [3, 1e30]]}]},
        {"instances": [{"image": "no base64", "values": []}]},
    ]
    return [
        *map(orjson.dumps, documents),
        *(hostile_json.build_instances(build(20)) for build in hostile_json.VALUES.values()),
        *(build(60) for build in hostile_json.NESTED.values()),
    ]


PREDICTION_TOKENS = (*JSON_TOKENS, b'"instances":', b'"rows":', b'"image":', b'"values":', b'"top_k":', b'"island":')
TARGETS = {"json_predict": FuzzTarget(parse_prediction, build_predictions, mutate_json, PREDICTION_TOKENS)}
