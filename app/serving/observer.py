"""Defines the interface of classes that observe predictions, for example for tracing."""

from contextlib import AbstractContextManager
from typing import Protocol

from app.serving.types import BundleRef


class PredictionObserver(Protocol):
    """Observes the predictions and batches of all models of a model server."""

    def observe_prediction(self, bundle: BundleRef, num_samples: int) -> AbstractContextManager[None]:
        """Return a context that is open while a prediction is computed. This method is called on the event loop."""

    def record_batch(self, bundle: BundleRef, size: int, seconds: float) -> None:
        """Record a computed batch. Any thread may call this method. It is called before the waiting callers resume."""
