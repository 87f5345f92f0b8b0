"""Tests of weight averages: formulas, validation, registration and resume."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core.datasets.packed import PackedDataset
from tests.support.training import InterruptAt, build_spec, cpu_placement, hash_weights
from worker.builders import build_run
from worker.engine import snapshot
from worker.engine.averaging import Averaging, Ema, Lookahead, Swa, update_batch_norm
from worker.engine.state import RunState

pytestmark = pytest.mark.packed(num_samples=150)

AVERAGES: list[dict[str, Any]] = [
    {"name": "ema", "decay": 0.9},
    {"name": "swa", "start": 0.5},
    {"name": "lookahead", "k": 3},
    {"name": "lookahead", "k": 2, "alpha": 1.0, "final_alpha": 0.2, "average_statistics": True},
]


def run_steps(
    averaging: Averaging, live: nn.Linear, values: list[float], steps_per_epoch: int = 1, max_epochs: int = 9
) -> list[float]:
    """Return the average after each value of the live weight."""
    state, found = RunState(max_epochs=max_epochs, steps_per_epoch=steps_per_epoch), []
    for step, value in enumerate(values):
        with torch.no_grad():
            live.weight.fill_(value)
        state.step, state.batch, state.epoch = step, step % steps_per_epoch, step // steps_per_epoch + 1
        averaging.update_parameters(state)
        found.append(float(averaging.network.get_parameter("weight")))
    return found


@pytest.fixture
def live() -> nn.Linear:
    linear = nn.Linear(1, 1)
    nn.init.zeros_(linear.weight)
    return linear


def test_ema_discounts_its_first_weights_early(live: nn.Linear) -> None:
    expected, mean = [], 0.0
    for n, value in enumerate([1.0, 2.0, 3.0]):
        decay = min(0.999, (1 + n) / (10 + n))
        mean = decay * mean + (1 - decay) * value
        expected.append(mean)
    assert run_steps(Ema(live), live, [1.0, 2.0, 3.0]) == pytest.approx(expected)


def test_swa_averages_the_weights_at_the_last_epoch_ends(live: nn.Linear) -> None:
    assert run_steps(Swa(live, start_epoch=2), live, [9, 9, 9, 2, 9, 4], steps_per_epoch=2) == [0, 0, 0, 2, 2, 3]


def test_lookahead_resets_to_the_slow_weights(live: nn.Linear) -> None:
    assert run_steps(Lookahead(live, k=2, alpha=0.5), live, [1, 2, 3, 5]) == [0, 1, 1, 3]
    assert live.weight.item() == 3


def test_lookahead_fraction_changes_with_the_cube_of_the_progress(live: nn.Linear) -> None:
    lookahead = Lookahead(live, k=2, alpha=1.0, final_alpha=0.0625)
    shares = [1 - 0.9375 * (step / 4) ** 3 for step in (2, 4)]
    slow = shares[0] * 2
    assert run_steps(lookahead, live, [9, 2, 9, 5], max_epochs=4) == pytest.approx(
        [0, slow, slow, slow + shares[1] * (5 - slow)]
    )


def test_lookahead_fraction_is_the_final_one_after_the_planned_epochs(live: nn.Linear) -> None:
    lookahead = Lookahead(live, k=1, alpha=1.0, final_alpha=0.5)
    assert run_steps(lookahead, live, [2, 4], max_epochs=1) == [1, 2.5]


@pytest.mark.parametrize("is_old", [False, True], ids=["current snapshot", "snapshot of version 0.1"])
def test_lookahead_fraction_is_the_final_one_in_an_extension(live: nn.Linear, is_old: bool) -> None:
    first, second = (Lookahead(live, k=1, alpha=1.0, final_alpha=0.5) for _ in range(2))
    run_steps(first, live, [2, 4], max_epochs=2)
    saved = first.state_dict()
    if is_old:
        del saved["num_planned_steps"]
    second.load_state_dict(saved)
    with torch.no_grad():
        live.weight.fill_(5.0)
    before = float(second.network.get_parameter("weight"))
    second.update_parameters(RunState(max_epochs=4, steps_per_epoch=1, epoch=3, step=2))
    share = 1 - 0.5 * 0.75**3 if is_old else 0.5
    assert float(second.network.get_parameter("weight")) == pytest.approx(before + share * (5 - before))


@pytest.mark.parametrize(("is_averaged", "expected"), [(True, 2.0), (False, 4.0)])
def test_lookahead_averages_statistics_if_requested(is_averaged: bool, expected: float) -> None:
    norm = nn.BatchNorm1d(1)
    lookahead = Lookahead(norm, k=1, alpha=0.5, average_statistics=is_averaged)
    norm.get_buffer("running_mean").fill_(4.0)
    lookahead.update_parameters(RunState(max_epochs=1, steps_per_epoch=1))
    found = [network.get_buffer("running_mean").item() for network in (norm, lookahead.network)]
    assert found == [expected, expected]


def test_batch_norm_update_resets_statistics_without_dropout() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(), nn.BatchNorm1d(2))
    inputs = [torch.randn(50, 2) * 3 + 5, torch.randn(50, 2) * 3 + 5]
    network(inputs[0] - 100)  # the earlier statistics have no effect
    random = torch.get_rng_state()
    update_batch_norm(network, inputs)
    assert torch.equal(random, torch.get_rng_state())
    assert torch.allclose(network[0].get_buffer("running_mean"), torch.cat(inputs).mean(0), atol=1e-5)
    assert torch.allclose(network[2].get_buffer("running_var"), torch.ones(2), atol=0.5)
    assert not network.training


@pytest.mark.parametrize("average", AVERAGES, ids=["ema", "swa", "lookahead", "changing lookahead"])
def test_resumed_average_is_bit_identical(packed: PackedDataset, tmp_path: Path, average: dict[str, Any]) -> None:
    spec = build_spec(epochs=3, callbacks=[average])
    whole = build_run(spec, packed, cpu_placement())
    whole.build_loop().fit(whole.state)
    whole.load_best_weights()
    first = build_run(spec, packed, cpu_placement())
    first.build_loop([InterruptAt(19)]).fit(first.state)  # in the last epoch of 8 steps
    snapshot.write_snapshot(tmp_path / "snapshot", first.network, first.stateful_parts(), {})
    second = build_run(spec, packed, cpu_placement())
    snapshot.restore_snapshot(tmp_path / "snapshot", second.network, second.stateful_parts(), torch.device("cpu"))
    second.build_loop().fit(second.state)
    second.load_best_weights()
    assert second.state.metrics == whole.state.metrics
    assert hash_weights(second.network, tmp_path) == hash_weights(whole.network, tmp_path)


@pytest.mark.parametrize("average", [AVERAGES[0], AVERAGES[2]], ids=lambda average: average["name"])
def test_averaged_weights_are_validated_and_used_as_result(packed: PackedDataset, average: dict[str, Any]) -> None:
    run = build_run(build_spec(callbacks=[average]), packed, cpu_placement())
    run.build_loop().fit(run.state)
    live = [parameter.detach().clone() for parameter in run.network.parameters()]
    run.load_best_weights()
    assert not all(torch.equal(old, new) for old, new in zip(live, run.network.parameters(), strict=True))
    assert run.evaluate()["valid"]["loss"] == pytest.approx(run.state.metrics["valid_loss"])


def test_keep_best_stores_the_average(packed: PackedDataset) -> None:
    run = build_run(build_spec(callbacks=[AVERAGES[0], {"name": "keep_best"}]), packed, cpu_placement())
    run.build_loop().fit(run.state)
    best = run.load_best_weights()
    assert run.evaluate()["valid"]["loss"] == pytest.approx(best["valid_loss"])


def test_swa_result_has_recomputed_batch_norm_statistics(packed: PackedDataset) -> None:
    run = build_run(build_spec(epochs=3, callbacks=[{"name": "swa", "start": 0.4}]), packed, cpu_placement())
    run.build_loop().fit(run.state)
    assert run.averaging is not None
    mean = dict(run.averaging.network.named_parameters())
    statistics = {name: value.clone() for name, value in run.network.named_buffers() if "running_mean" in name}
    run.load_best_weights()
    assert all(torch.equal(value, mean[name]) for name, value in run.network.named_parameters())
    assert all(not torch.equal(value, run.network.get_buffer(name)) for name, value in statistics.items())


def test_swa_without_an_average_uses_the_last_weights(live: nn.Linear) -> None:
    averaging = Swa(live, start_epoch=5)
    run_steps(averaging, live, [1.0, 2.0])
    averaging.finalize()
    assert float(averaging.network.get_parameter("weight")) == 2.0
