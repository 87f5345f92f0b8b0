"""The interface of observers of predictions, for example for tracing."""

from contextlib import AbstractContextManager
from typing import Protocol

from app.serving.types import BundleRef


class PredictionObserver(Protocol):
    """Observes the predictions and batches of all models of a model server."""

    def observe_prediction(self, bundle: BundleRef, num_samples: int) -> AbstractContextManager[None]:
        """Return a context that stays open until the outcomes of a prediction arrive. Called on the event loop."""

    def record_batch(self, bundle: BundleRef, size: int, seconds: float) -> None:
        """Record a computed batch. May be called on any thread, before the callers of the batch resume."""
