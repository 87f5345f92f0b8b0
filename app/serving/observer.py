"""The interface through which predictions are observed, for example by tracing."""

from contextlib import AbstractContextManager
from typing import Protocol

from app.serving.types import BundleRef


class PredictionObserver(Protocol):
    """Observes the predictions and batches of all models of a model server."""

    def observe_prediction(self, bundle: BundleRef, num_samples: int) -> AbstractContextManager[None]:
        """Return a context that is open while a prediction waits for its outcomes. Called on the event loop."""

    def record_batch(self, bundle: BundleRef, size: int, seconds: float) -> None:
        """Record a computed batch, before the callers that wait for it resume. Called by any thread."""
