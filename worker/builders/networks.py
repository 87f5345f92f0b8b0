"""Builds the network of a job with its initial weights."""

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from core.datasets.packed import PackedMeta
from core.spec import JobSpec, losses
from models import registry
from models.logits import to_logits
from worker.builders.preprocessing import get_cardinalities
from worker.engine.device import Placement, compile_in_place
from worker.engine.transfer import LoadReport, Weights, freeze_parameters, transfer_weights


@runtime_checkable
class DataInitializedLayer(Protocol):
    """A layer whose initial weights are computed from inputs of the network."""

    def fit_weights(self, batches: Iterable[Tensor]) -> None:
        """Compute the weights from batches of inputs, float (B, C, H, W). At least one batch is required."""
        ...


class InitialNetwork(NamedTuple):
    """A network before the first training step.

    Attributes:
        load_report: the names of the loaded and of the skipped initial weights. None: all weights are random.
        frozen_parameters: the names of the parameters that are not trained.
    """

    network: nn.Module
    load_report: LoadReport | None
    frozen_parameters: tuple[str, ...]


def build_initial_network(
    spec: JobSpec,
    meta: PackedMeta,
    placement: Placement,
    initial_weights: Weights | None,
    iter_inputs: Callable[[], Iterable[Tensor]] = tuple,
) -> InitialNetwork:
    """Build the network on its device, load the initial weights and freeze parameters.

    `iter_inputs` returns batches of network inputs, from which layers with `fit_weights` compute their weights.

    Raises:
        ArchitectureBuildError: the architecture cannot be built for the shape of the dataset's samples.
        NoMatchingWeights: no initial weight matches a parameter.
    """
    network = placement.place_network(_build_network(spec, meta))
    for layer in network.modules():
        if isinstance(layer, DataInitializedLayer):
            layer.fit_weights(iter_inputs())
    if spec.compile:
        compile_in_place(network)
    load_report = None if initial_weights is None else transfer_weights(network, initial_weights)
    return InitialNetwork(network, load_report, tuple(freeze_parameters(network, spec.freeze)))


def _build_network(spec: JobSpec, meta: PackedMeta) -> nn.Module:
    architecture = spec.architecture
    network = registry.build_network(
        architecture.name, architecture.options, meta.image_shape, meta.num_outputs, get_cardinalities(meta)
    )
    return to_logits(network) if isinstance(spec.loss, losses.BceSpec) else network
