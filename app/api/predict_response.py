"""From predictions to the bytes of the answer, written directly: this is the hot path."""

from typing import Any

import orjson

from app.services.prediction.checkpoints import CheckpointPredictionResult
from app.services.prediction.predictions import Classification, ClassScore, Prediction, PredictionResult, Regression


def render_predictions(predicted: PredictionResult) -> bytes:
    """A `PredictionsOut` as JSON."""
    model = {"name": predicted.name, "version": predicted.version, "variant": predicted.variant}
    return orjson.dumps({"model": model, "predictions": [_convert_prediction(one) for one in predicted.predictions]})


def render_checkpoint_predictions(told: CheckpointPredictionResult) -> bytes:
    """A `CheckpointPredictionsOut` as JSON."""
    predictions = [_convert_prediction(one) for one in told.predictions]
    return orjson.dumps({"checkpoint": told.checkpoint._asdict(), "predictions": predictions})


def _convert_prediction(prediction: Prediction) -> dict[str, Any]:
    match prediction:
        case Classification(candidates):
            top_k = [_convert_candidate(candidate) for candidate in candidates]
            return {**top_k[0], "top_k": top_k}
        case Regression(values):
            return {"values": values}
        case error:
            return {"error": {"code": error.slug, "detail": error.detail}}


def _convert_candidate(candidate: ClassScore) -> dict[str, Any]:
    return {"label": candidate.label, "index": candidate.number, "probability": candidate.probability}
