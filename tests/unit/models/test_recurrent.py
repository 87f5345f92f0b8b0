"""Layers for sequences: shapes, outputs, and errors of invalid lists."""

import re
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from models import bundle, registry

Layer = dict[str, Any]
FLATTEN: Layer = {"type": "flatten"}
OUT: Layer = {"type": "linear", "out": 3}
WINDOW = (12, 2)


def lstm(hidden: int = 5, **options: object) -> Layer:
    return {"type": "lstm", "hidden": hidden, **options}


def gru(hidden: int = 5, **options: object) -> Layer:
    return {"type": "gru", "hidden": hidden, **options}


def rnn(hidden: int = 5, **options: object) -> Layer:
    return {"type": "rnn", "hidden": hidden, **options}


def check(
    *layers: Layer, shape: registry.Shape = WINDOW, cardinalities: tuple[int, ...] = ()
) -> registry.NetworkSummary:
    return registry.validate_architecture("layers", {"layers": list(layers)}, shape, 3, cardinalities)


BUILDS: list[list[Layer]] = [
    [lstm(), OUT],
    [gru(layers=2, dropout=0.1, **{"in": 2}), OUT],
    [lstm(bidirectional=True), {"type": "linear", "in": 10, "out": 3}],
    [gru(take="all"), lstm(bidirectional=True, take="all"), FLATTEN, {"type": "linear", "in": 120, "out": 3}],
    [{"type": "transpose"}, {"type": "conv1d", "out": 4, "kernel": 3}, {"type": "transpose"}, gru(), OUT],
    [{"type": "residual", "layers": [lstm(2, take="all")]}, FLATTEN, OUT],
]


@pytest.mark.parametrize("layers", BUILDS)
def test_valid_lists_build_networks(layers: list[Layer]) -> None:
    network = registry.build_network("layers", {"layers": layers}, WINDOW, 3)
    scores = network(torch.rand(2, *WINDOW))
    assert scores.shape == (2, 3)
    scores.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert check(*layers).num_parameters == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("layer", "cells"), [(lstm, nn.LSTM), (gru, nn.GRU), (rnn, nn.RNN)])
def test_last_state_equals_torch(layer: Any, cells: Any, bidirectional: bool) -> None:
    layers = [layer(4, layers=2, bidirectional=bidirectional), {"type": "identity"}]
    width = 8 if bidirectional else 4
    network = registry.build_network("layers", {"layers": layers}, WINDOW, width)
    torchs = cells(2, 4, 2, batch_first=True, bidirectional=bidirectional)
    torchs.load_state_dict({name.removeprefix("0.cells."): value for name, value in network.state_dict().items()})
    sequences = torch.rand(3, *WINDOW)
    every, _ = torchs(sequences)
    ends = [every[:, -1, :4]] + (
        [every[:, 0, 4:]] if bidirectional else []
    )  # the one that reads back ends at the first
    assert torch.equal(network(sequences), torch.cat(ends, dim=1))


MISFITS: list[tuple[list[Layer], registry.Shape, str, str]] = [
    ([lstm(), OUT], (3, 8, 8), "layers/0", "requires (steps, features), but its input is (3, 8, 8)"),
    ([lstm(), OUT], (5,), "layers/0", "requires (steps, features), but its input is (5,)"),
    ([gru(**{"in": 3}), OUT], WINDOW, "layers/0/in", "requires 3 features, (12, 3), but its input is (12, 2)"),
    ([lstm(take="all"), OUT], WINDOW, "layers/1", "its input is (12, 5): add a flatten before it"),
    ([lstm(), gru(), OUT], WINDOW, "layers/1", "its input is (5,)"),
    ([lstm()], WINDOW, "layers/0", "returns (5,), but the task requires (3,)"),
    ([{"type": "embedding", "num": 4, "dim": 2}, FLATTEN, OUT], (3, 8, 8), "layers/0", "integers of a row"),
    ([lstm(), {"type": "embedding", "num": 4, "dim": 2}, FLATTEN, OUT], WINDOW, "layers/1", "other layers precede it"),
]


@pytest.mark.parametrize(("layers", "shape", "path", "said"), MISFITS)
def test_misfit_reports_the_layer_and_both_shapes(
    layers: list[Layer], shape: registry.Shape, path: str, said: str
) -> None:
    with pytest.raises(registry.ArchitectureBuildError, match=re.escape(said)) as refused:
        check(*layers, shape=shape)
    assert refused.value.path == path


@pytest.mark.parametrize("wrong", [lstm(0), lstm(dropout=0.5), lstm(take="first"), gru(hidden_size=3), gru(layers=0)])
def test_wrong_options_are_refused(wrong: Layer) -> None:
    with pytest.raises(ValidationError):
        check(wrong, OUT)


def test_long_sequence_is_validated_quickly() -> None:
    assert check(lstm(layers=4, bidirectional=True, take="all"), gru(), OUT, shape=(100_000, 2)).output_shape == (3,)


def test_token_embedding_has_the_workshops_size() -> None:
    layers = [{"type": "embedding", "num": 3, "dim": 5}, gru(), OUT]
    network = registry.build_network("layers", {"layers": layers}, (4, 1), 3)
    tokens = torch.tensor([[[0.0], [2.0], [1.0], [2.0]]])
    assert next(network.children())(tokens[:, 1:2]).shape == (1, 1, 5)
    assert network(tokens).shape == (1, 3)
    with pytest.raises(IndexError, match="out of range"):
        network(tokens + 1)


def test_inputs_of_an_embedding_are_not_standardized() -> None:
    layers = {"layers": [{"type": "embedding", "num": 9, "dim": 5}, FLATTEN, OUT]}
    preprocess = bundle.build_preprocessing("layers", layers, (4, 1), ([5.0], [2.0]))
    tokens = torch.tensor([[[0.0], [8.0], [1.0], [2.0]]])
    assert torch.equal(preprocess(tokens), tokens)
    assert not torch.equal(
        bundle.build_preprocessing("layers", {"layers": [gru(), OUT]}, (4, 1), ([5.0], [2.0]))(tokens), tokens
    )


def test_embedding_needs_a_code_for_every_category() -> None:
    def embedding(num: int) -> list[Layer]:
        return [{"type": "embedding", "num": num, "dim": 2}, FLATTEN, OUT]

    assert check(*embedding(5), shape=(2,), cardinalities=(3, 4)).output_shape == (3,)
    with pytest.raises(registry.ArchitectureBuildError, match="num must be at least 5, got 4") as small:
        check(*embedding(4), shape=(2,), cardinalities=(3, 4))
    assert small.value.path == "layers/0/num"
    with pytest.raises(registry.ArchitectureBuildError, match="column 2 of the table is numeric"):
        check(*embedding(5), shape=(2,), cardinalities=(3, 0))
