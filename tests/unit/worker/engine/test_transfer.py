"""Weights from elsewhere, parameters that stay, batch norms that stay."""

import pytest
import torch
from torch import nn

from core.datasets.packed import Packed
from tests.support.training import pack, run_of
from worker.engine.optimizers import UnknownParameters
from worker.engine.run import Run
from worker.engine.transfer import NoMatchingWeights, freeze, frozen_names, transfer


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return pack(tmp_path_factory.mktemp("packed") / "it")


def values(run: Run) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in run.network.state_dict().items()}


def head_of(run: Run) -> str:
    """The pattern of the last layer's parameters."""
    return [name for name, _ in run.network.named_parameters()][-1].rpartition(".")[0] + ".*"


def test_frozen_weights_are_equal_to_the_bit_after_an_epoch(packed: Packed) -> None:
    head = head_of(run_of(packed))
    run = run_of(packed, epochs=1, freeze=["*", f"!{head}"])
    before = values(run)
    run.loop().fit(run.state)
    after = values(run)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        name for name, _ in run.network.named_parameters() if name.startswith(head.removesuffix("*"))
    }


def test_the_statistics_of_frozen_norms_move_where_that_is_wished(packed: Packed) -> None:
    head = head_of(run_of(packed))
    run = run_of(packed, epochs=1, freeze=["*", f"!{head}"], freeze_bn_stats=False)
    before = values(run)
    run.loop().fit(run.state)
    moved = {name for name, tensor in values(run).items() if not torch.equal(before[name], tensor)}
    assert any(name.endswith("running_mean") for name in moved)
    assert not any(name in run.frozen for name in moved)


def test_a_norm_that_is_not_frozen_keeps_learning_its_statistics(packed: Packed) -> None:
    first = next(name for name, _ in run_of(packed).network.named_parameters())
    run = run_of(packed, epochs=1, freeze=[first])
    before = values(run)
    run.loop().fit(run.state)
    assert any(name.endswith("running_mean") and not torch.equal(before[name], v) for name, v in values(run).items())


def test_the_last_pattern_that_matches_counts() -> None:
    names = ["a.weight", "a.bias", "b.weight"]
    assert frozen_names(["*", "!a.*", "a.bias"], names) == ["a.bias", "b.weight"]
    assert frozen_names([], names) == []


def test_freezing_all_or_nothing_is_refused() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with pytest.raises(NoMatchingWeights):
        freeze(network, ["*"])
    with pytest.raises(UnknownParameters):
        freeze(network, ["conv*"])


def test_what_fits_is_loaded_and_the_rest_is_told() -> None:
    first, second = nn.Linear(2, 3), nn.Linear(3, 4)
    network, fresh = nn.Sequential(first, second), second.weight.clone()
    given = {"0.weight": torch.ones(3, 2), "1.weight": torch.ones(5, 3), "2.weight": torch.ones(1)}
    told = transfer(network, given)
    assert told.loaded == ["0.weight"]
    assert told.missing == ["0.bias", "1.bias"]
    assert told.unexpected == ["2.weight"]
    assert told.mismatched == ["1.weight"]
    assert torch.equal(first.weight, torch.ones(3, 2))
    assert torch.equal(second.weight, fresh)


def test_a_counter_alone_is_no_knowledge() -> None:
    with pytest.raises(NoMatchingWeights):
        transfer(nn.BatchNorm1d(3), {"num_batches_tracked": torch.tensor(7), "weight": torch.ones(9)})


def test_a_network_of_colours_sees_grey_images_as_if_all_channels_were_given_them() -> None:
    def network(channels: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten())

    coloured, grey = network(3), network(1)
    told = transfer(grey, coloured.state_dict())
    assert (told.summed, told.mismatched, told.missing) == (["0.weight"], [], [])
    images = torch.rand(2, 1, 6, 6)
    assert torch.allclose(grey(images), coloured(images.expand(2, 3, 6, 6)), atol=1e-6)
    told = transfer(network(2), coloured.state_dict())
    assert (told.summed, told.mismatched) == ([], ["0.weight"])
