"""Computes embeddings of images, and heatmaps that explain a prediction (Grad-CAM)."""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.services.prediction.json_limits import compute_max_json_values
from app.services.prediction.predictions import compute_probabilities
from app.services.prediction.timeouts import run_until_deadline
from app.services.prediction.version_cache import AS_TRAINED, ServedModel, VersionCache
from app.services.validation.report import reject
from app.serving.decoding import Decoder, ImageInput
from app.serving.model_server import ModelServer
from app.serving.table_input import TableRow
from app.serving.types import TOP_CLASS, BundleRef, Outcome, Pixels, Scores
from core.datasets.split_names import normalize_name
from core.errors import InvalidRow, InvalidSpec, ServiceError, TooLarge
from core.spec.error_pointers import format_unknown_name

Heatmap = NDArray[np.float32]
"""The contribution of each pixel to the score of a class, (H, W), 0..1."""


class EmbeddingResult(NamedTuple):
    """The embeddings of a request: one float32 vector (D,) or one error per image, in the order of the request."""

    model: ServedModel
    vectors: list[Scores | ServiceError]


class ExplanationResult(NamedTuple):
    """The explanation of a class. `number` is the index of the class, `image` the decoded image, (H, W, C)."""

    model: ServedModel
    label: str
    number: int
    probability: float | None
    heatmap: Heatmap
    image: Pixels


class ExplanationService:
    """Computes embeddings and explanations with the trained network, because variants do not expose inner layers."""

    def __init__(self, version_cache: VersionCache, decoder: Decoder, model_server: ModelServer) -> None:
        self._version_cache = version_cache
        self._decoder = decoder
        self._model_server = model_server

    async def get_max_json_values(self, ref: str) -> int:
        """Return how many values and keys the JSON of a request may have.

        Raises:
            NotFound: the model does not exist.
            InvalidSpec: the inputs of the model are not images.
        """
        return compute_max_json_values(await self._find_image_model(ref), self._model_server.max_waiting)

    async def embed(
        self, ref: str, instances: Sequence[ImageInput | TableRow], deadline: float | None = None
    ) -> EmbeddingResult:
        """Return the input of the network's last layer for each image.

        Raises:
            NotFound: the model does not exist.
            InvalidImage, UnsupportedImage, TooLarge, PredictionFailed: the only image of the request failed.
            InvalidSpec: the inputs of the model are not images, or the network has no linear or convolutional layer.
            Overloaded, NotReady: the server cannot take the request now.
            DeadlineExceeded: the deadline has passed.
        """
        if len(instances) > self._model_server.max_waiting:
            most = self._model_server.max_waiting
            raise TooLarge(f"The request has {len(instances)} images; at most {most} are allowed.", max_images=most)
        model = await self._find_image_model(ref)
        bundle = model.bundle.with_output("embedding")
        with self._model_server.admit(bundle, len(instances), deadline):
            decoded, outcomes = await run_until_deadline(
                deadline, self._compute_output(model, bundle, instances, deadline)
            )
        vectors = [image if isinstance(image, ServiceError) else next(outcomes) for image in decoded]
        if len(vectors) == 1 and isinstance(vectors[0], ServiceError):
            raise vectors[0]
        return EmbeddingResult(model, vectors)

    async def explain(
        self, ref: str, instance: ImageInput | TableRow, label: str | None, deadline: float | None = None
    ) -> ExplanationResult:
        """Return a heatmap of the pixels that contribute to the class `label`; default: the most probable class.

        Raises:
            NotFound: the model does not exist.
            InvalidSpec: the inputs of the model are not images, or the model has no class `label` or no feature maps.
            InvalidImage, UnsupportedImage, TooLarge, PredictionFailed: the image failed.
            Overloaded, NotReady: the server cannot take the request now.
            DeadlineExceeded: the deadline has passed.
        """
        model = await self._find_image_model(ref)
        requested = TOP_CLASS if label is None else find_output_index(model, label)
        bundle = model.bundle.with_output("attention")
        with self._model_server.admit(bundle, 1, deadline):
            computation = self._compute_output(model, bundle, [instance], deadline, [requested])
            (image,), outcomes = await run_until_deadline(deadline, computation)
        if isinstance(image, ServiceError):
            raise image
        outcome = next(outcomes)
        if isinstance(outcome, ServiceError):
            raise outcome
        scores, heat = outcome[: model.num_outputs], outcome[model.num_outputs :]
        output = int(scores.argmax()) if requested == TOP_CLASS else requested
        number = output + int(_has_single_output(model))
        probability = None if model.task == "regression" else float(compute_probabilities(model.task, scores)[number])
        name = model.classes[number] if number < len(model.classes) else str(number)
        return ExplanationResult(model, name, number, probability, heat.reshape(image.shape[:2]), image)

    async def _compute_output(
        self,
        model: ServedModel,
        bundle: BundleRef,
        instances: Sequence[ImageInput | TableRow],
        deadline: float | None,
        targets: Sequence[int] | None = None,
    ) -> tuple[list[Pixels | ServiceError], Iterator[Outcome]]:
        """Return an image or an error per instance, and one outcome per successfully decoded image."""
        started_at = time.monotonic()
        decoded = await self._decoder.decode(_require_images(instances, model), model.image_shape, model.resize)
        self._model_server.record_decode_time(bundle, time.monotonic() - started_at)
        images = [image for image in decoded if not isinstance(image, ServiceError)]
        if not images:
            return decoded, iter([])
        return decoded, iter(await self._model_server.predict(bundle, images, deadline, targets=targets))

    async def _find_image_model(self, ref: str) -> ServedModel:
        model = await self._version_cache.get(ref, AS_TRAINED)
        if model.table is not None:
            raise InvalidSpec(f"{model.name} reads rows of a table, not images.")
        return model


def find_output_index(model: ServedModel, label: str) -> int:
    """Return the index of the network's output for a class. If there is one output, it represents the second class.

    Raises:
        InvalidSpec: no output represents this class.
    """
    labels = list(model.classes) or [str(number) for number in range(model.num_outputs)]
    if _has_single_output(model):
        labels = labels[1:]
    # Classes are compared in NFC: macOS and browsers on it decompose accented letters.
    composed = [normalize_name(name) for name in labels]
    if normalize_name(label) not in composed:
        reject("?label", format_unknown_name("class", label, labels))
    return composed.index(normalize_name(label))


def _require_images(instances: Sequence[ImageInput | TableRow], model: ServedModel) -> list[ImageInput]:
    images = [instance for instance in instances if not isinstance(instance, TableRow)]
    if len(images) < len(instances):
        raise InvalidRow(f"{model.name} reads images; the request has rows of a table.")
    return images


def _has_single_output(model: ServedModel) -> bool:
    return model.task == "binary" and model.num_outputs == 1
