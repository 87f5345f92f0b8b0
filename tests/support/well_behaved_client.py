"""A client that posts a job, follows its events and requests predictions, and measures how long each of them takes."""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np

from candela import Client
from candela.errors import CandelaError

MODEL = "digits"
IDLE_JOB: dict[str, Any] = {
    "name": "idle",
    "dataset": {"name": "synthetic", "image_shape": [3, 16, 16], "num_samples": 2000},
    "architecture": {"name": "convnet", "channels": [8]},
    "epochs": 100_000,
}
OPERATIONS = ("post", "predict", "first event", "end")
TIMEOUT_S = 120.0
_NUMBERS = itertools.count()
_PREDICT_EVERY_S = 0.1
_MAX_JOB_S = 240.0


def build_job() -> dict[str, Any]:
    """Return a small job on the scanned digits. Its network differs from all others: no check is cached."""
    return {
        "name": "well-behaved",
        "dataset": {"name": "digits", "valid": 0.15},
        "architecture": {"name": "mlp", "hidden": [32 + next(_NUMBERS)]},
        "epochs": 3,
        "batch_size": 64,
        "seed": 777,
    }


def pause_job(url: str) -> str:
    """Post a job, pause it, and return its id."""
    with Client(url) as client:
        return client.jobs.submit(IDLE_JOB).pause().id


class WellBehavedClient:
    """Works with the service as a user does, without retries.

    Attributes:
        waits_s: how long each operation took, by its name. `end` is the time from the post to the last event.
        failures: descriptions of the operations that failed.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._image = cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes()
        self.waits_s: dict[str, list[float]] = {name: [] for name in OPERATIONS}
        self.failures: list[str] = []

    def train_model(self) -> None:
        """Train the model for the predictions, and request the first one, which loads the model."""
        with self._open_client() as client:
            client.jobs.submit(build_job() | {"model": MODEL}).wait(_MAX_JOB_S).raise_for_failure()
            client.models.predict(MODEL, self._image)

    def run_job(self) -> None:
        """Post a job and follow its events to the last one. Request predictions meanwhile."""
        has_ended = threading.Event()
        predictions = threading.Thread(target=self._predict_repeatedly, args=(has_ended,))
        predictions.start()
        try:
            with self._open_client() as client:
                self._follow_job(client)
        finally:
            has_ended.set()
            predictions.join()

    def _follow_job(self, client: Client) -> None:
        with self._measure("end"):
            with self._measure("post"):
                job = client.jobs.submit(build_job())
            events = job.watch()
            with self._measure("first event"):
                types = [next(events)["type"]]
            types += [event["type"] for event in events]
        if types[-1] != "end" or job.state != "succeeded":
            self.failures.append(f"job: {job.state} after the events {types}: {job.response['failure']}")

    def _predict_repeatedly(self, has_ended: threading.Event) -> None:
        with self._open_client() as client:
            while not has_ended.wait(_PREDICT_EVERY_S):
                with self._measure("predict"):
                    client.models.predict(MODEL, self._image)

    def _open_client(self) -> Client:
        return Client(self._url, timeout_s=TIMEOUT_S, max_attempts=1)

    @contextmanager
    def _measure(self, operation: str) -> Iterator[None]:
        started_at = time.monotonic()
        try:
            yield
        except CandelaError as error:
            self.failures.append(f"{operation}: {error}")
            if operation != "predict":
                raise
        else:
            self.waits_s[operation].append(time.monotonic() - started_at)
