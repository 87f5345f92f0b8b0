"""What a client can ask of a trained model: labels with probabilities, or values, for pictures."""

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from app.services.prediction.timeouts import with_deadline
from app.services.prediction.version_cache import ServedModel, VersionCache
from app.serving import table_input as rows
from app.serving.decoding import Decoder, Sent
from app.serving.model_server import ModelServer
from app.serving.rollover import VersionRollover
from app.serving.table_input import Row
from app.serving.types import Outcome, Pixels, Scores
from core.errors import InvalidRow, ServiceError, TooLarge

DEFAULT_TOP_K = 5
FEW_CLASSES = 16
MANY_ROWS = 100
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

    def __init__(self, lookup: VersionCache, decoder: Decoder, predictors: ModelServer) -> None:
        self._lookup = lookup
        self._decoder = decoder
        self._predictors = predictors
        self._switch = VersionRollover(predictors)

    async def predict(
        self,
        ref: str,
        sent: Sequence[Sent | Row],
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
        self._refuse_too_many(len(sent))
        served = await self._switch.choose(f"{ref} {variant}", await self._lookup.get(ref, variant))
        predictions = await self.predict_by(served, sent, top_k, deadline)
        return PredictionResult(served.name, served.version, served.variant, predictions)

    async def predict_by(
        self, served: ServedModel, sent: Sequence[Sent | Row], top_k: int | None, deadline: float | None = None
    ) -> list[Prediction]:
        """The same by what was found already."""
        self._refuse_too_many(len(sent))
        with self._predictors.admit(served.bundle, len(sent), deadline):
            decoded, outcomes = await with_deadline(deadline, self._outcomes(served, sent, deadline))
        found = [one if isinstance(one, ServiceError) else next(outcomes) for one in decoded]
        if len(found) == 1 and isinstance(found[0], ServiceError):
            raise found[0]
        k = top_k or DEFAULT_TOP_K
        return [_prediction(served, one, k) for one in found]

    async def _outcomes(
        self, served: ServedModel, sent: Sequence[Sent | Row], deadline: float | None
    ) -> tuple[list[Pixels | ServiceError], Iterator[Outcome]]:
        """What was sent, and an answer for each that could be read."""
        began_at = time.monotonic()
        decoded = await self._decoded(served, sent)
        self._predictors.record_decode_time(served.bundle, time.monotonic() - began_at)
        images = [image for image in decoded if not isinstance(image, ServiceError)]
        return decoded, iter(await self._predictors.predict(served.bundle, images, deadline) if images else [])

    async def _decoded(self, served: ServedModel, sent: Sequence[Sent | Row]) -> list[Pixels | ServiceError]:
        if served.table is not None:
            is_long = len(sent) > MANY_ROWS
            return await asyncio.to_thread(rows.read, sent, served.table) if is_long else rows.read(sent, served.table)
        images = [one for one in sent if not isinstance(one, Row)]
        if len(images) < len(sent):
            raise InvalidRow(f"{served.name} reads pictures; rows of a table came.")
        return await self._decoder.decode(images, served.image_shape, served.resize)

    def _refuse_too_many(self, count: int) -> None:
        most = self._predictors.max_waiting
        if count > most:
            raise TooLarge(f"{count} pictures came; at most {most} are answered at once.", max_pictures=most)


def _prediction(served: ServedModel, outcome: Scores | ServiceError, top_k: int) -> Prediction:
    if isinstance(outcome, ServiceError):
        return outcome
    if served.task == "regression":
        return Regression(outcome.tolist())
    best = most_probable(served.task, outcome, top_k)
    return Classification([ClassScore(_label(served, index), index, probability) for index, probability in best])


def most_probable(task: str, scores: Scores, k: int) -> list[tuple[int, float]]:
    """The `k` most probable classes with their probabilities, the first first; of equals the one with the lower index.

    For few classes, which most networks have, Python's own numbers take two thirds of the time of numpy's ten calls.
    """
    if task == "classification" and len(scores) <= FEW_CLASSES:
        exponentials = [math.exp(score) for score in (scores - np.maximum.reduce(scores)).tolist()]
        total = sum(exponentials)
        best = sorted(range(len(exponentials)), key=exponentials.__getitem__, reverse=True)[:k]
        return [(index, exponentials[index] / total) for index in best]
    likely = probabilities(task, scores)
    order = (-likely).argsort(kind="stable")[:k]
    return list(zip(order.tolist(), likely[order].tolist(), strict=True))


def probabilities(task: str, scores: Scores) -> Scores:
    """Of the classes: they sum to 1, except where a picture may have several labels."""
    if task == "classification":
        exponentials = np.exp(scores - np.maximum.reduce(scores))  # an array's own max and sum take a detour
        return np.asarray(exponentials / np.add.reduce(exponentials))
    with np.errstate(over="ignore"):  # exp(large) is inf, and 1 / inf is the 0 that is meant
        likely = 1 / (1 + np.exp(-scores))
    if task == "binary" and len(likely) == 1:  # one output: the probability of the second class
        return np.concatenate([1 - likely, likely])
    return np.asarray(likely)


def _label(served: ServedModel, index: int) -> str:
    return served.classes[index] if index < len(served.classes) else str(index)
