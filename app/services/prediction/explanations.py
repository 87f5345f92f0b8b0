"""What a client can ask of a model beside labels: its vectors for pictures, and where it looked."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.services.prediction.predictions import compute_probabilities
from app.services.prediction.timeouts import run_until_deadline
from app.services.prediction.version_cache import AS_TRAINED, ServedModel, VersionCache
from app.serving.decoding import Decoder, Sent
from app.serving.model_server import ModelServer
from app.serving.table_input import Row
from app.serving.types import TOP_CLASS, BundleRef, Outcome, Pixels, Scores, with_class
from core.errors import InvalidRow, InvalidSpec, ServiceError, TooLarge
from core.spec.error_pointers import unknown

Heatmap = NDArray[np.float32]
"""How much each place of a picture speaks for a class, (H, W), 0..1."""


class EmbeddingResult(NamedTuple):
    """One vector a picture, float32 (D,), or what is wrong with it, in the order they were sent."""

    model: ServedModel
    vectors: list[Scores | ServiceError]


class ExplanationResult(NamedTuple):
    """Why a class: `number` is its place among the model's classes, `picture` is as the network saw it, (H, W, C)."""

    model: ServedModel
    label: str
    number: int
    probability: float | None
    heatmap: Heatmap
    image: Pixels


class ExplanationService:
    """One for the process. Variants are not asked: other forms of a network have no inside."""

    def __init__(self, version_cache: VersionCache, decoder: Decoder, model_server: ModelServer) -> None:
        self._version_cache = version_cache
        self._decoder = decoder
        self._model_server = model_server

    async def embed(self, ref: str, instances: Sequence[Sent | Row], deadline: float | None = None) -> EmbeddingResult:
        """The vectors before the last layer.

        Raises:
            NotFound: there is no such model.
            InvalidPicture, UnsupportedPicture, TooLarge, PredictionFailed: of the only picture.
            InvalidSpec: the network has no such layer.
            Overloaded, NotReady, DeadlineExceeded: not now, or not in time.
        """
        if len(instances) > self._model_server.max_waiting:
            most = self._model_server.max_waiting
            raise TooLarge(f"{len(instances)} pictures came; at most {most} are answered at once.", max_pictures=most)
        model = await self._find_image_model(ref)
        bundle = model.bundle.with_output("embedding")
        with self._model_server.admit(bundle, len(instances), deadline):
            decoded, outcomes = await run_until_deadline(
                deadline, self._compute_output(model, bundle, instances, deadline)
            )
        vectors = [one if isinstance(one, ServiceError) else next(outcomes) for one in decoded]
        if len(vectors) == 1 and isinstance(vectors[0], ServiceError):
            raise vectors[0]
        return EmbeddingResult(model, vectors)

    async def explain(
        self, ref: str, instance: Sent | Row, label: str | None, deadline: float | None = None
    ) -> ExplanationResult:
        """Where in a picture the network found what speaks for a class; the most probable one unless `label` says.

        Raises:
            NotFound: there is no such model.
            InvalidSpec: it has no such class, or no feature maps.
            InvalidPicture, UnsupportedPicture, TooLarge, PredictionFailed: of the picture.
            Overloaded, NotReady, DeadlineExceeded: not now, or not in time.
        """
        model = await self._find_image_model(ref)
        requested = TOP_CLASS if label is None else find_output_index(model, label)
        bundle = model.bundle.with_output("attention")
        with self._model_server.admit(bundle, 1, deadline):
            seeing = self._compute_output(
                model, bundle, [instance], deadline, lambda pixels: with_class(pixels, requested)
            )
            (image,), outcomes = await run_until_deadline(deadline, seeing)
        if isinstance(image, ServiceError):
            raise image
        outcome = next(outcomes)
        if isinstance(outcome, ServiceError):
            raise outcome
        scores, heat = outcome[: model.num_outputs], outcome[model.num_outputs :]
        output = int(scores.argmax()) if requested == TOP_CLASS else requested
        number = output + int(_has_single_output(model))
        likely = None if model.task == "regression" else float(compute_probabilities(model.task, scores)[number])
        name = model.classes[number] if number < len(model.classes) else str(number)
        return ExplanationResult(model, name, number, likely, heat.reshape(image.shape[:2]), image)

    async def _compute_output(
        self,
        model: ServedModel,
        bundle: BundleRef,
        instances: Sequence[Sent | Row],
        deadline: float | None,
        prepare: Callable[[Pixels], Pixels] = lambda pixels: pixels,
    ) -> tuple[list[Pixels | ServiceError], Iterator[Outcome]]:
        """What was sent, and an answer for each that could be read."""
        began_at = time.monotonic()
        decoded = await self._decoder.decode(_require_images(instances, model), model.image_shape, model.resize)
        self._model_server.record_decode_time(bundle, time.monotonic() - began_at)
        images = [prepare(image) for image in decoded if not isinstance(image, ServiceError)]
        return decoded, iter(await self._model_server.predict(bundle, images, deadline) if images else [])

    async def _find_image_model(self, ref: str) -> ServedModel:
        model = await self._version_cache.get(ref, AS_TRAINED)
        if model.table is not None:
            raise InvalidSpec(f"{model.name} reads rows of a table, not pictures.")
        return model


def find_output_index(model: ServedModel, label: str) -> int:
    """The output of the network that stands for a class; of two classes with one output only the second has one.

    Raises:
        InvalidSpec: none does.
    """
    labels = list(model.classes) or [str(number) for number in range(model.num_outputs)]
    if _has_single_output(model):
        labels = labels[1:]
    if label not in labels:
        reason = unknown("class", label, labels)
        raise InvalidSpec(f"?label: {reason}", errors=[("?label", reason)])
    return labels.index(label)


def _require_images(instances: Sequence[Sent | Row], model: ServedModel) -> list[Sent]:
    images = [one for one in instances if not isinstance(one, Row)]
    if len(images) < len(instances):
        raise InvalidRow(f"{model.name} reads pictures; rows of a table came.")
    return images


def _has_single_output(model: ServedModel) -> bool:
    return model.task == "binary" and model.num_outputs == 1
