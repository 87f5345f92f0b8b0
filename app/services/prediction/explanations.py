"""What a client can ask of a model beside labels: its vectors for pictures, and where it looked."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.services.prediction.predictions import probabilities
from app.services.prediction.timeouts import with_deadline
from app.services.prediction.version_cache import AS_TRAINED, ServedModel, VersionCache
from app.serving.decoding import Decoder, Sent
from app.serving.model_server import ModelServer
from app.serving.table_input import Row
from app.serving.types import TOP_CLASS, BundleRef, Outcome, Pixels, Scores, with_class
from core.errors import InvalidRow, InvalidSpec, ServiceError, TooLarge
from core.spec.error_pointers import unknown

Heat = NDArray[np.float32]
"""How much each place of a picture speaks for a class, (H, W), 0..1."""


class EmbeddingResult(NamedTuple):
    """One vector a picture, float32 (D,), or what is wrong with it, in the order they were sent."""

    served: ServedModel
    vectors: list[Scores | ServiceError]


class ExplanationResult(NamedTuple):
    """Why a class: `number` is its place among the model's classes, `picture` is as the network saw it, (H, W, C)."""

    served: ServedModel
    label: str
    number: int
    probability: float | None
    heat: Heat
    image: Pixels


class InsightService:
    """One for the process. Variants are not asked: other forms of a network have no inside."""

    def __init__(self, lookup: VersionCache, decoder: Decoder, predictors: ModelServer) -> None:
        self._lookup = lookup
        self._decoder = decoder
        self._predictors = predictors

    async def embed(self, ref: str, sent: Sequence[Sent | Row], deadline: float | None = None) -> EmbeddingResult:
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
        served = await self._of_images(ref)
        bundle = served.bundle.with_output("embedding")
        with self._predictors.admit(bundle, len(sent), deadline):
            decoded, outcomes = await with_deadline(deadline, self._seen(served, bundle, sent, deadline))
        vectors = [one if isinstance(one, ServiceError) else next(outcomes) for one in decoded]
        if len(vectors) == 1 and isinstance(vectors[0], ServiceError):
            raise vectors[0]
        return EmbeddingResult(served, vectors)

    async def explain(
        self, ref: str, sent: Sent | Row, label: str | None, deadline: float | None = None
    ) -> ExplanationResult:
        """Where in a picture the network found what speaks for a class; the most probable one unless `label` says.

        Raises:
            NotFound: there is no such model.
            InvalidSpec: it has no such class, or no feature maps.
            InvalidPicture, UnsupportedPicture, TooLarge, PredictionFailed: of the picture.
            Overloaded, NotReady, DeadlineExceeded: not now, or not in time.
        """
        served = await self._of_images(ref)
        wanted = TOP_CLASS if label is None else output_of(served, label)
        bundle = served.bundle.with_output("attention")
        with self._predictors.admit(bundle, 1, deadline):
            seeing = self._seen(served, bundle, [sent], deadline, lambda pixels: with_class(pixels, wanted))
            (image,), outcomes = await with_deadline(deadline, seeing)
        if isinstance(image, ServiceError):
            raise image
        outcome = next(outcomes)
        if isinstance(outcome, ServiceError):
            raise outcome
        scores, heat = outcome[: served.num_outputs], outcome[served.num_outputs :]
        output = int(scores.argmax()) if wanted == TOP_CLASS else wanted
        number = output + int(_is_single(served))
        likely = None if served.task == "regression" else float(probabilities(served.task, scores)[number])
        name = served.classes[number] if number < len(served.classes) else str(number)
        return ExplanationResult(served, name, number, likely, heat.reshape(image.shape[:2]), image)

    async def _seen(
        self,
        served: ServedModel,
        bundle: BundleRef,
        sent: Sequence[Sent | Row],
        deadline: float | None,
        prepared: Callable[[Pixels], Pixels] = lambda pixels: pixels,
    ) -> tuple[list[Pixels | ServiceError], Iterator[Outcome]]:
        """What was sent, and an answer for each that could be read."""
        began_at = time.monotonic()
        decoded = await self._decoder.decode(_images(sent, served), served.image_shape, served.resize)
        self._predictors.record_decode_time(bundle, time.monotonic() - began_at)
        images = [prepared(image) for image in decoded if not isinstance(image, ServiceError)]
        return decoded, iter(await self._predictors.predict(bundle, images, deadline) if images else [])

    async def _of_images(self, ref: str) -> ServedModel:
        served = await self._lookup.get(ref, AS_TRAINED)
        if served.table is not None:
            raise InvalidSpec(f"{served.name} reads rows of a table, not pictures.")
        return served


def output_of(served: ServedModel, label: str) -> int:
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


def _images(sent: Sequence[Sent | Row], served: ServedModel) -> list[Sent]:
    images = [one for one in sent if not isinstance(one, Row)]
    if len(images) < len(sent):
        raise InvalidRow(f"{served.name} reads pictures; rows of a table came.")
    return images


def _is_single(served: ServedModel) -> bool:
    return served.task == "binary" and served.num_outputs == 1
