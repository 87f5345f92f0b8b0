"""What a client can ask of a model beside labels: its vectors for pictures, and where it looked."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.services.prediction.predictions import probabilities
from app.services.prediction.timeouts import before
from app.services.prediction.version_cache import AS_TRAINED, Lookup, Served
from app.serving.decoding import Decoder, Sent
from app.serving.model_server import Predictors
from app.serving.table_input import Row
from app.serving.types import LIKELIEST, BundleRef, Outcome, Pixels, Scores, with_class
from core.errors import InvalidRow, InvalidSpec, ServiceError, TooLarge
from core.spec.error_pointers import unknown

Heat = NDArray[np.float32]
"""How much each place of a picture speaks for a class, (H, W), 0..1."""


class Embedded(NamedTuple):
    """One vector a picture, float32 (D,), or what is wrong with it, in the order they were sent."""

    served: Served
    vectors: list[Scores | ServiceError]


class Explained(NamedTuple):
    """Why a class: `number` is its place among the model's classes, `picture` is as the network saw it, (H, W, C)."""

    served: Served
    label: str
    number: int
    probability: float | None
    heat: Heat
    picture: Pixels


class InsightService:
    """One for the process. Variants are not asked: other forms of a network have no inside."""

    def __init__(self, lookup: Lookup, decoder: Decoder, predictors: Predictors) -> None:
        self._lookup = lookup
        self._decoder = decoder
        self._predictors = predictors

    async def embed(self, ref: str, sent: Sequence[Sent | Row], deadline: float | None = None) -> Embedded:
        """The vectors before the last layer.

        Raises:
            NotFound: there is no such model.
            InvalidPicture, UnsupportedPicture, TooLarge, PredictionFailed: of the only picture.
            InvalidSpec: the network has no such layer.
            Overloaded, NotReady, DeadlineExceeded: not now, or not in time.
        """
        if len(sent) > self._predictors.max_waiting:
            most = self._predictors.max_waiting
            raise TooLarge(f"{len(sent)} pictures came; at most {most} are answered at once.", max_pictures=most)
        served = await self._of_pictures(ref)
        bundle = served.bundle.seen_as("embedding")
        with self._predictors.admitted(bundle, len(sent), deadline):
            decoded, outcomes = await before(deadline, self._seen(served, bundle, sent, deadline))
        vectors = [one if isinstance(one, ServiceError) else next(outcomes) for one in decoded]
        if len(vectors) == 1 and isinstance(vectors[0], ServiceError):
            raise vectors[0]
        return Embedded(served, vectors)

    async def explain(self, ref: str, sent: Sent | Row, label: str | None, deadline: float | None = None) -> Explained:
        """Where in a picture the network found what speaks for a class; the most probable one unless `label` says.

        Raises:
            NotFound: there is no such model.
            InvalidSpec: it has no such class, or no feature maps.
            InvalidPicture, UnsupportedPicture, TooLarge, PredictionFailed: of the picture.
            Overloaded, NotReady, DeadlineExceeded: not now, or not in time.
        """
        served = await self._of_pictures(ref)
        wanted = LIKELIEST if label is None else output_of(served, label)
        bundle = served.bundle.seen_as("attention")
        with self._predictors.admitted(bundle, 1, deadline):
            seeing = self._seen(served, bundle, [sent], deadline, lambda pixels: with_class(pixels, wanted))
            (picture,), outcomes = await before(deadline, seeing)
        if isinstance(picture, ServiceError):
            raise picture
        outcome = next(outcomes)
        if isinstance(outcome, ServiceError):
            raise outcome
        scores, heat = outcome[: served.num_outputs], outcome[served.num_outputs :]
        output = int(scores.argmax()) if wanted == LIKELIEST else wanted
        number = output + int(_is_single(served))
        likely = None if served.task == "regression" else float(probabilities(served.task, scores)[number])
        name = served.classes[number] if number < len(served.classes) else str(number)
        return Explained(served, name, number, likely, heat.reshape(picture.shape[:2]), picture)

    async def _seen(
        self,
        served: Served,
        bundle: BundleRef,
        sent: Sequence[Sent | Row],
        deadline: float | None,
        prepared: Callable[[Pixels], Pixels] = lambda pixels: pixels,
    ) -> tuple[list[Pixels | ServiceError], Iterator[Outcome]]:
        """What was sent, and an answer for each that could be read."""
        began_at = time.monotonic()
        decoded = await self._decoder.decode(_pictures(sent, served), served.image_shape, served.resize)
        self._predictors.decoded(bundle, time.monotonic() - began_at)
        pictures = [prepared(picture) for picture in decoded if not isinstance(picture, ServiceError)]
        return decoded, iter(await self._predictors.predict(bundle, pictures, deadline) if pictures else [])

    async def _of_pictures(self, ref: str) -> Served:
        served = await self._lookup.get(ref, AS_TRAINED)
        if served.table is not None:
            raise InvalidSpec(f"{served.name} reads rows of a table, not pictures.")
        return served


def output_of(served: Served, label: str) -> int:
    """The output of the network that stands for a class; of two classes with one output only the second has one.

    Raises:
        InvalidSpec: none does.
    """
    known = list(served.classes) or [str(number) for number in range(served.num_outputs)]
    if _is_single(served):
        known = known[1:]
    if label not in known:
        reason = unknown("class", label, known)
        raise InvalidSpec(f"?label: {reason}", errors=[("?label", reason)])
    return known.index(label)


def _pictures(sent: Sequence[Sent | Row], served: Served) -> list[Sent]:
    pictures = [one for one in sent if not isinstance(one, Row)]
    if len(pictures) < len(sent):
        raise InvalidRow(f"{served.name} reads pictures; rows of a table came.")
    return pictures


def _is_single(served: Served) -> bool:
    return served.task == "binary" and served.num_outputs == 1
