"""Networks with initial weights and frozen parameters."""

from collections.abc import Iterable

import pytest
import torch
from torch import nn

from core.datasets.packed import PackedDataset, Task
from tests.support.training import build_spec, cpu_placement
from worker.builders import networks
from worker.builders.networks import build_initial_network
from worker.engine.transfer import NoMatchingWeights

MLP = {"name": "mlp", "hidden": [4]}


def test_network_is_random_without_initial_weights(datasets: dict[Task, PackedDataset]) -> None:
    meta = datasets["classification"].meta
    initial = build_initial_network(build_spec(architecture=MLP), meta, cpu_placement(), None)
    assert (initial.load_report, initial.frozen_parameters) == (None, ())
    assert all(parameter.requires_grad for parameter in initial.network.parameters())


def test_initial_weights_are_loaded_and_parameters_frozen(datasets: dict[Task, PackedDataset]) -> None:
    meta = datasets["classification"].meta
    source = build_initial_network(build_spec(architecture=MLP), meta, cpu_placement(), None).network
    nn.init.constant_(next(source.parameters()), 0.5)
    spec = build_spec(architecture=MLP, freeze=["*.weight"])
    network, load_report, frozen_parameters = build_initial_network(spec, meta, cpu_placement(), source.state_dict())
    assert load_report is not None
    assert set(load_report.loaded) == set(source.state_dict())
    for (name, expected), parameter in zip(source.named_parameters(), network.parameters(), strict=True):
        assert torch.equal(expected, parameter)
        assert parameter.requires_grad != (name in frozen_parameters) == name.endswith("weight")


WHITENED = {"name": "layers", "layers": [{"type": "whitening"}, {"type": "flatten"}, {"type": "linear", "out": 3}]}


def test_whitening_layer_is_computed_from_the_inputs(datasets: dict[Task, PackedDataset]) -> None:
    meta = datasets["classification"].meta
    images = torch.randn(50, *meta.image_shape) * 5
    spec = build_spec(architecture=WHITENED)
    network = build_initial_network(spec, meta, cpu_placement(), None, lambda: [images]).network
    outputs = network.get_submodule("0")(images) - network.get_parameter("0.bias").view(1, -1, 1, 1)
    assert outputs.square().mean().item() == pytest.approx(1.0, abs=0.01)


class Centered(nn.Module):
    """Subtracts the mean of the inputs that it was fitted to."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = 0.0

    def fit_weights(self, batches: Iterable[torch.Tensor]) -> None:
        self.mean = float(torch.cat(list(batches)).mean())


def test_any_layer_can_compute_its_weights(
    datasets: dict[Task, PackedDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, meta = Centered(), datasets["classification"].meta
    monkeypatch.setattr(networks, "_build_network", lambda *_: nn.Sequential(nn.Flatten(), layer))
    build_initial_network(build_spec(), meta, cpu_placement(), None, lambda: [torch.ones(2), torch.full((2,), 3.0)])
    assert layer.mean == 2.0


def test_initial_weights_replace_computed_ones(datasets: dict[Task, PackedDataset]) -> None:
    meta, spec = datasets["classification"].meta, build_spec(architecture=WHITENED, freeze=["0.*"])
    images = torch.randn(50, *meta.image_shape)
    source = build_initial_network(spec, meta, cpu_placement(), None, lambda: [images * 9]).network.state_dict()
    network = build_initial_network(spec, meta, cpu_placement(), source, lambda: [images]).network
    assert torch.equal(network.get_buffer("0.weight"), source["0.weight"])


def test_weights_that_do_not_match_are_rejected(datasets: dict[Task, PackedDataset]) -> None:
    spec, meta = build_spec(architecture=MLP), datasets["classification"].meta
    with pytest.raises(NoMatchingWeights):
        build_initial_network(spec, meta, cpu_placement(), {"other": torch.zeros(1)})
