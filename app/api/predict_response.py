"""Serializes predictions to JSON without pydantic response models, for speed."""

from typing import Any

import orjson

from app.services.prediction.checkpoints import CheckpointPredictionResult
from app.services.prediction.predictions import Classification, ClassScore, Prediction, PredictionResult, Regression
from core.errors import get_sample_error_code


def render_predictions(result: PredictionResult) -> bytes:
    """Return a `PredictionsOut` as JSON."""
    model = {"name": result.name, "version": result.version, "variant": result.variant}
    predictions = [_convert_prediction(prediction) for prediction in result.predictions]
    return orjson.dumps({"model": model, "predictions": predictions})


def render_checkpoint_predictions(result: CheckpointPredictionResult) -> bytes:
    """Return a `CheckpointPredictionsOut` as JSON."""
    predictions = [_convert_prediction(prediction) for prediction in result.predictions]
    return orjson.dumps({"checkpoint": result.checkpoint._asdict(), "predictions": predictions})


def _convert_prediction(prediction: Prediction) -> dict[str, Any]:
    match prediction:
        case Classification(candidates):
            top_k = [_convert_candidate(candidate) for candidate in candidates]
            return {**top_k[0], "top_k": top_k}
        case Regression(values):
            return {"values": values}
        case error:
            return {"error": {"code": get_sample_error_code(error), "detail": error.detail}}


def _convert_candidate(candidate: ClassScore) -> dict[str, Any]:
    return {"label": candidate.label, "index": candidate.number, "probability": candidate.probability}
