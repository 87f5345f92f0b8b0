"""What a client can ask of a trained model: labels with probabilities, or values, for pictures."""

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from app.services.prediction.timeouts import run_until_deadline
from app.services.prediction.version_cache import ServedModel, VersionCache
from app.serving import table_input as rows
from app.serving.decoding import Decoder, Sent
from app.serving.model_server import ModelServer
from app.serving.rollover import VersionRollover
from app.serving.table_input import Row
from app.serving.types import Outcome, Pixels, Scores
from core.errors import InvalidRow, ServiceError, TooLarge

DEFAULT_TOP_K = 5
SMALL_NUM_CLASSES = 16
MAX_ROWS_ON_EVENT_LOOP = 100
"""More of them are read beside the event loop."""


class ClassScore(NamedTuple):
    """A class, its place among the model's classes from 0, and its probability."""

    label: str
    number: int
    probability: float


class Classification(NamedTuple):
    """The most probable classes, the first first."""

    candidates: list[ClassScore]


class Regression(NamedTuple):
    values: list[float]


Prediction = Classification | Regression | ServiceError


class PredictionResult(NamedTuple):
    """One prediction a picture, in the order they were sent, by one version."""

    name: str
    version: int
    variant: str | None
    predictions: list[Prediction]


class PredictionService:
    """One for the process: it holds no session, and never waits for the database on the event loop."""

    def __init__(self, version_cache: VersionCache, decoder: Decoder, model_server: ModelServer) -> None:
        self._version_cache = version_cache
        self._decoder = decoder
        self._model_server = model_server
        self._rollover = VersionRollover(model_server)

    async def predict(
        self,
        ref: str,
        instances: Sequence[Sent | Row],
        top_k: int | None,
        variant: str | None = None,
        deadline: float | None = None,
    ) -> PredictionResult:
        """Predict pictures, rows or windows with one version; what is wrong with one of several is told in its place.

        Args:
            ref: `name`, `name@3` or `name@alias`.
            sent: at least one.
            top_k: how many classes to name; all where there are fewer.
            variant: as `Lookup.get` takes it.
            deadline: of the monotonic clock.

        Raises:
            NotFound: there is no such model or variant.
            InvalidPicture, UnsupportedPicture, InvalidRow, TooLarge, PredictionFailed: of the only one.
            TooLarge: more pictures than may ever wait.
            Overloaded, NotReady: not now.
            DeadlineExceeded: it would be answered after its deadline.
        """
        self._check_count(len(instances))
        model = await self._rollover.choose(f"{ref} {variant}", await self._version_cache.get(ref, variant))
        predictions = await self.predict_version(model, instances, top_k, deadline)
        return PredictionResult(model.name, model.version, model.variant, predictions)

    async def predict_version(
        self, model: ServedModel, instances: Sequence[Sent | Row], top_k: int | None, deadline: float | None = None
    ) -> list[Prediction]:
        """The same by what was found already."""
        self._check_count(len(instances))
        with self._model_server.admit(model.bundle, len(instances), deadline):
            decoded, outcomes = await run_until_deadline(deadline, self._compute_outcomes(model, instances, deadline))
        results = [one if isinstance(one, ServiceError) else next(outcomes) for one in decoded]
        if len(results) == 1 and isinstance(results[0], ServiceError):
            raise results[0]
        k = top_k or DEFAULT_TOP_K
        return [_to_prediction(model, one, k) for one in results]

    async def _compute_outcomes(
        self, model: ServedModel, instances: Sequence[Sent | Row], deadline: float | None
    ) -> tuple[list[Pixels | ServiceError], Iterator[Outcome]]:
        """What was sent, and an answer for each that could be read."""
        began_at = time.monotonic()
        decoded = await self._decode_instances(model, instances)
        self._model_server.record_decode_time(model.bundle, time.monotonic() - began_at)
        images = [image for image in decoded if not isinstance(image, ServiceError)]
        return decoded, iter(await self._model_server.predict(model.bundle, images, deadline) if images else [])

    async def _decode_instances(
        self, model: ServedModel, instances: Sequence[Sent | Row]
    ) -> list[Pixels | ServiceError]:
        if model.table is not None:
            is_long = len(instances) > MAX_ROWS_ON_EVENT_LOOP
            return (
                await asyncio.to_thread(rows.read, instances, model.table)
                if is_long
                else rows.read(instances, model.table)
            )
        images = [one for one in instances if not isinstance(one, Row)]
        if len(images) < len(instances):
            raise InvalidRow(f"{model.name} reads pictures; rows of a table came.")
        return await self._decoder.decode(images, model.image_shape, model.resize)

    def _check_count(self, count: int) -> None:
        most = self._model_server.max_waiting
        if count > most:
            raise TooLarge(f"{count} pictures came; at most {most} are answered at once.", max_pictures=most)


def _to_prediction(model: ServedModel, outcome: Scores | ServiceError, top_k: int) -> Prediction:
    if isinstance(outcome, ServiceError):
        return outcome
    if model.task == "regression":
        return Regression(outcome.tolist())
    best = select_top_classes(model.task, outcome, top_k)
    return Classification([ClassScore(_get_label(model, index), index, probability) for index, probability in best])


def select_top_classes(task: str, scores: Scores, k: int) -> list[tuple[int, float]]:
    """The `k` most probable classes with their probabilities, the first first; of equals the one with the lower index.

    For few classes, which most networks have, Python's own numbers take two thirds of the time of numpy's ten calls.
    """
    if task == "classification" and len(scores) <= SMALL_NUM_CLASSES:
        exponentials = [math.exp(score) for score in (scores - np.maximum.reduce(scores)).tolist()]
        total = sum(exponentials)
        best = sorted(range(len(exponentials)), key=exponentials.__getitem__, reverse=True)[:k]
        return [(index, exponentials[index] / total) for index in best]
    likely = compute_probabilities(task, scores)
    order = (-likely).argsort(kind="stable")[:k]
    return list(zip(order.tolist(), likely[order].tolist(), strict=True))


def compute_probabilities(task: str, scores: Scores) -> Scores:
    """Of the classes: they sum to 1, except where a picture may have several labels."""
    if task == "classification":
        exponentials = np.exp(scores - np.maximum.reduce(scores))  # an array's own max and sum take a detour
        return np.asarray(exponentials / np.add.reduce(exponentials))
    with np.errstate(over="ignore"):  # exp(large) is inf, and 1 / inf is the 0 that is meant
        likely = 1 / (1 + np.exp(-scores))
    if task == "binary" and len(likely) == 1:  # one output: the probability of the second class
        return np.concatenate([1 - likely, likely])
    return np.asarray(likely)


def _get_label(model: ServedModel, index: int) -> str:
    return model.classes[index] if index < len(model.classes) else str(index)
