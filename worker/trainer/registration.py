"""Registers a network with existing weights as a model, without training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import InvalidSpec
from core.spec import RegisterSpec
from core.spec.job import PRETRAINED
from models import bundle, registry
from models.registry import PretrainedWeights
from worker.engine.transfer import transfer_weights
from worker.protocol import RunStarted, TrainingFinished
from worker.trainer.artifacts import to_file_digests
from worker.trainer.channel import Channel
from worker.trainer.initial_state import load_initial_weights
from worker.trainer.job_context import JobContext
from worker.trainer.runtime_info import count_parameters

MAX_NAMES = 20
COUNTER = "num_batches_tracked"
"""A buffer of batch norms that predictions do not use, and that older files do not contain."""


def register_network(spec: RegisterSpec, context: JobContext) -> TrainingFinished:
    """Build the network, load its weights and write its bundle.

    Raises:
        InvalidSpec: the weights do not belong to the network, or are not finite.
    """
    start, pretrained = context.start, registry.get_architecture(spec.architecture.name).pretrained
    description = build_description(spec, pretrained, {"job_id": start.job_id, "spec": spec.model_dump(mode="json")})
    weights = load_initial_weights(start)
    assert weights is not None  # noqa: S101 - the field `weights` is required
    network = registry.build_network(
        description.architecture.name,
        description.architecture.options,
        description.image_shape,
        description.num_outputs,
    )
    context.channel.send(
        RunStarted(runtime=context.placement.describe() | {"num_parameters": count_parameters(network)})
    )
    load_all_weights(network, weights, context.channel)
    _check_outputs(network, description)
    if start.weights_path is not None:
        source = {"file": Path(start.weights_path).name, "sha256": bundle.compute_sha256(Path(start.weights_path))}
        description = description.model_copy(update={"lineage": description.lineage | {"weights": source}})
    folder = context.work_dir / "bundle"
    folder.mkdir()
    return TrainingFinished(
        dir=str(folder),
        files=to_file_digests(bundle.save_bundle(folder, network, description)),
        metrics={},
        evaluation={},
        num_parameters=count_parameters(network),
    )


def build_description(
    spec: RegisterSpec, pretrained: PretrainedWeights | None, lineage: dict[str, Any]
) -> bundle.BundleDescription:
    """Build the content of bundle.json. Fields that the spec does not set are those of the published weights.

    Raises:
        InvalidSpec: a field is missing, and the architecture has no published weights.
    """
    shape = spec.image_shape or (None if pretrained is None else pretrained.image_shape)
    classes = spec.classes or (None if pretrained is None else pretrained.load_classes())
    if shape is None or classes is None or (pretrained is None and (spec.mean is None or spec.std is None)):
        raise InvalidSpec("image_shape, classes, mean and std are required: the architecture has no published weights")
    # This is the place that chooses the preprocessing: a field of the spec, or the recipe of the published weights.
    mean = spec.mean or (pretrained.mean,) * shape[0] if pretrained is not None else spec.mean
    std = spec.std or (pretrained.deviation,) * shape[0] if pretrained is not None else spec.std
    return bundle.BundleDescription(
        architecture=bundle.ArchitectureChoice(
            name=spec.architecture.name,
            options=registry.resolve_options(spec.architecture.name, spec.architecture.options),
        ),
        image_shape=shape,
        num_outputs=len(classes),
        task="classification",
        classes=list(classes),
        mean=list(mean or ()),
        std=list(std or ()),
        lineage=lineage,
        **choose_resizing(spec, shape),
    )


def choose_resizing(spec: RegisterSpec, shape: Sequence[int]) -> dict[str, Any]:
    """Return how images are resized: as the spec says, else as for the evaluation of the published weights."""
    recipe = registry.get_architecture(spec.architecture.name).recipe
    is_published = spec.weights == PRETRAINED and recipe is not None and tuple(shape[1:]) == (recipe.image_size,) * 2
    if spec.resize is not None or recipe is None or not is_published:
        return {"resize": spec.resize or "stretch"}
    return {"resize": "crop", "resize_shorter_side": recipe.shorter_side, "interpolation": recipe.interpolation}


def load_all_weights(network: nn.Module, weights: Mapping[str, Tensor], channel: Channel) -> None:
    """Load the weights of all tensors of a network. Tensors that the network does not have are logged.

    Raises:
        InvalidSpec: a tensor of the network is missing or has another shape, or a value is not finite.
    """
    report = transfer_weights(network, weights)
    missing = [name for name in report.missing if not name.endswith(COUNTER)]
    for problem, names in (("lack the tensors", missing), ("have other shapes for the tensors", report.mismatched)):
        if names:
            raise InvalidSpec(f"the weights {problem} {_format_names(names)}")
    if report.unexpected:
        channel.send_log(
            f"The weights have tensors that the network does not have: {_format_names(report.unexpected)}.", "warning"
        )
    broken = [name for name, tensor in network.state_dict().items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise InvalidSpec(f"the weights contain values that are not finite: {_format_names(broken)}")


def _format_names(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _check_outputs(network: nn.Module, description: bundle.BundleDescription) -> None:
    """Check that the scores of a black image are finite."""
    channels, height, width = description.image_shape
    images = torch.zeros(1, height, width, channels, dtype=torch.uint8)
    with torch.inference_mode():
        scores = network.eval()(description.build_preprocessing()(images))
    if not bool(torch.isfinite(scores).all()):
        raise InvalidSpec("the scores of the network are not finite: the weights do not belong to it")
