"""Tests of initial weights, frozen parameters and frozen batch norms."""

from typing import Any

import pytest
import torch
from torch import nn

from core.datasets.packed import PackedDataset
from tests.support.training import build_small_run
from worker.engine.optimizers import UnknownParameters
from worker.engine.run import Run
from worker.engine.transfer import NoMatchingWeights, freeze_parameters, match_frozen_parameters, transfer_weights


def copy_state(run: Run) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in run.network.state_dict().items()}


def get_head(run: Run) -> str:
    """Return the pattern of the last layer's parameters."""
    return [name for name, _ in run.network.named_parameters()][-1].rpartition(".")[0] + ".*"


def test_frozen_weights_are_bit_identical_after_an_epoch(packed: PackedDataset) -> None:
    head = get_head(build_small_run(packed))
    run = build_small_run(packed, epochs=1, freeze=["*", f"!{head}"])
    before = copy_state(run)
    run.build_loop().fit(run.state)
    after = copy_state(run)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        name for name, _ in run.network.named_parameters() if name.startswith(head.removesuffix("*"))
    }


def test_frozen_norm_statistics_update_with_freeze_bn_stats_off(packed: PackedDataset) -> None:
    head = get_head(build_small_run(packed))
    run = build_small_run(packed, epochs=1, freeze=["*", f"!{head}"], freeze_bn_stats=False)
    before = copy_state(run)
    run.build_loop().fit(run.state)
    moved = {name for name, tensor in copy_state(run).items() if not torch.equal(before[name], tensor)}
    assert any(name.endswith("running_mean") for name in moved)
    assert not any(name in run.frozen_parameters for name in moved)


def test_trainable_norm_updates_its_statistics(packed: PackedDataset) -> None:
    first = next(name for name, _ in build_small_run(packed).network.named_parameters())
    run = build_small_run(packed, epochs=1, freeze=[first])
    before = copy_state(run)
    run.build_loop().fit(run.state)
    assert any(
        name.endswith("running_mean") and not torch.equal(before[name], v) for name, v in copy_state(run).items()
    )


def test_last_matching_pattern_wins() -> None:
    names = ["a.weight", "a.bias", "b.weight"]
    assert match_frozen_parameters(["*", "!a.*", "a.bias"], names) == ["a.bias", "b.weight"]
    assert match_frozen_parameters([], names) == []


def test_freezing_no_parameter_raises_error() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with pytest.raises(UnknownParameters):
        freeze_parameters(network, ["conv*"])


@pytest.mark.parametrize(
    "optimizer",
    [
        *({"name": name} for name in ("adam", "sgd", "adagrad", "adafactor", "muon", "lbfgs")),
        {"name": "adamw", "weight_decay": 0.5},
    ],
)
@pytest.mark.parametrize("changes", [{"freeze": ["*"]}, {"callbacks": [{"name": "freeze", "match": "*"}]}])
def test_a_run_with_all_parameters_frozen_changes_no_weights(
    packed: PackedDataset, optimizer: dict[str, Any], changes: dict[str, Any]
) -> None:
    run = build_small_run(packed, epochs=1, optimizer=optimizer, **changes)
    before = copy_state(run)
    run.build_loop().fit(run.state)
    assert all(torch.equal(before[name], tensor) for name, tensor in copy_state(run).items())
    assert run.state.metrics["train_loss"] > 0


def test_matching_tensors_are_loaded_and_others_listed_in_the_report() -> None:
    first, second = nn.Linear(2, 3), nn.Linear(3, 4)
    network, fresh = nn.Sequential(first, second), second.weight.clone()
    source = {"0.weight": torch.ones(3, 2), "1.weight": torch.ones(5, 3), "2.weight": torch.ones(1)}
    report = transfer_weights(network, source)
    assert report.loaded == ["0.weight"]
    assert report.missing == ["0.bias", "1.bias"]
    assert report.unexpected == ["2.weight"]
    assert report.mismatched == ["1.weight"]
    assert torch.equal(first.weight, torch.ones(3, 2))
    assert torch.equal(second.weight, fresh)


def test_matching_only_a_counter_raises_error() -> None:
    with pytest.raises(NoMatchingWeights):
        transfer_weights(nn.BatchNorm1d(3), {"num_batches_tracked": torch.tensor(7), "weight": torch.ones(9)})


def test_color_network_on_gray_images_equals_repeating_the_channel() -> None:
    def network(channels: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten())

    coloured, grey = network(3), network(1)
    report = transfer_weights(grey, coloured.state_dict())
    assert (report.summed, report.mismatched, report.missing) == (["0.weight"], [], [])
    images = torch.rand(2, 1, 6, 6)
    assert torch.allclose(grey(images), coloured(images.expand(2, 3, 6, 6)), atol=1e-6)
    report = transfer_weights(network(2), coloured.state_dict())
    assert (report.summed, report.mismatched) == ([], ["0.weight"])
