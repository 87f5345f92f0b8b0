"""Tests of steps: gradients, clipping, scaling, and the order of hooks."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from models.preprocess import Preprocess
from tests.support.training import build_hook_recorder, build_small_run, build_train_step, cpu_placement, pack
from worker.engine.batch import Batch
from worker.engine.callback import Callback, CallbackHandler
from worker.engine.device import Placement
from worker.engine.forward_pass import ForwardPass
from worker.engine.metrics.accumulator import MetricAccumulator
from worker.engine.metrics.factory import build_adapter
from worker.engine.optimizer_step import GradientClipping
from worker.engine.state import RunState
from worker.engine.steps import TrainStep, ValidStep

BATCH = Batch(torch.arange(4 * 2 * 2, dtype=torch.uint8).reshape(4, 2, 2, 1), torch.tensor([0, 1, 0, 1]))


def create_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))


def build_step(
    network: nn.Module,
    callbacks: Sequence[Callback] = (),
    *,
    clipping: GradientClipping | None = None,
    placement: Placement | None = None,
) -> TrainStep:
    placement = placement or cpu_placement()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    forward = build_forward(network, placement)
    return build_train_step(forward, optimizer, callbacks, scaler=placement.build_grad_scaler(), clipping=clipping)


def build_forward(network: nn.Module, placement: Placement) -> ForwardPass:
    return ForwardPass(network, Preprocess([0.5], [0.5]), nn.CrossEntropyLoss(), placement)


def measure_change(clipping: GradientClipping | None, placement: Placement | None = None) -> torch.Tensor:
    """Return the change of all parameters in one step of SGD with learning rate 1: the clipped gradient."""
    network = create_network()
    before = nn.utils.parameters_to_vector(network.parameters()).detach().clone()
    build_step(network, clipping=clipping, placement=placement)(BATCH, RunState(max_epochs=1, steps_per_epoch=1))
    return before - nn.utils.parameters_to_vector(network.parameters()).detach()


def test_step_calls_the_inner_hooks_in_luz_order() -> None:
    calls: list[str] = []
    step = build_step(create_network(), [build_hook_recorder(calls)])
    step(BATCH, RunState(max_epochs=1, steps_per_epoch=1))
    inner = ["after_pred", "after_loss", "before_backward", "before_step", "after_step"]
    assert calls == [f"on_train_batch_{name}" for name in inner]


@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
def test_lbfgs_uses_a_closure_and_one_dropout_mask_per_step(line_search: str | None) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 2))
    calls: list[str] = []
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=5, line_search_fn=line_search)
    forward = build_forward(network, cpu_placement())
    step = build_train_step(forward, optimizer, [build_hook_recorder(calls)])
    network.train()
    random = torch.get_rng_state()
    state = RunState(max_epochs=1, steps_per_epoch=1)
    step(BATCH, state)
    after = torch.get_rng_state()
    assert calls.count("on_train_batch_before_step") == 1
    assert calls.count("on_train_batch_after_loss") > 2
    torch.set_rng_state(random)
    assert state.loss is not None
    assert forward.compute_loss(forward.predict(BATCH.images), BATCH.targets) < state.loss  # on the same mask
    assert torch.equal(torch.get_rng_state(), after)


def test_gradients_are_clipped_by_total_norm() -> None:
    free = measure_change(None)
    assert free.norm() > 0.01
    clipped = measure_change(GradientClipping(max_norm=0.01))
    assert clipped.norm().item() == pytest.approx(0.01, rel=1e-3)
    assert torch.allclose(clipped / clipped.norm(), free / free.norm(), atol=1e-4)


def test_gradients_are_clipped_by_value() -> None:
    assert measure_change(GradientClipping(max_value=0.001)).abs().max().item() == pytest.approx(0.001, rel=1e-3)


def test_fp16_gradients_are_unscaled_before_clipping() -> None:
    half = cpu_placement("fp16")
    free, clipped = measure_change(None, half), measure_change(GradientClipping(max_norm=1e3), half)
    assert torch.allclose(free, clipped)  # scaled gradients have a norm above 10,000


def test_ten_micro_batches_equal_one_large_batch(tmp_path: Path) -> None:
    packed = pack(tmp_path / "packed", num_samples=200)
    network = {"name": "convnet", "channels": [8], "batch_norm": False, "head": [16]}
    runs = [
        build_small_run(
            packed,
            architecture=network,
            optimizer={"name": "sgd", "lr": 0.1},  # Adam is invariant to the scale of gradients
            batch_size=size,
            accumulate_batches=count,
            epochs=2,
        )
        for size, count in ((80, 1), (8, 10))
    ]
    for run in runs:
        run.build_loop().fit(run.state)
        assert run.state.step == 4
    whole, parts = (nn.utils.parameters_to_vector(run.network.parameters()) for run in runs)
    assert torch.allclose(whole, parts, atol=1e-5)
    assert runs[1].state.metrics == pytest.approx(runs[0].state.metrics, abs=1e-5)


def test_micro_batches_have_similar_sizes() -> None:
    batch = Batch(torch.zeros(17, 1, 1, 1, dtype=torch.uint8), torch.arange(17))
    assert [len(part.targets) for part in batch.split(8)] == [6, 6, 5]
    assert torch.equal(torch.cat([part.targets for part in batch.split(8)]), batch.targets)


def test_validation_changes_neither_weights_nor_random_state() -> None:
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    forward = ForwardPass(network, Preprocess([0.5], [0.5]), nn.CrossEntropyLoss(), cpu_placement())
    step = ValidStep(forward, MetricAccumulator({}, build_adapter("classification")), CallbackHandler())
    step.start_phase()
    step(BATCH, RunState(max_epochs=1, steps_per_epoch=1))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert step.compute_metrics()["loss"] > 0


def test_single_sample_batch_joins_the_batch_before_it(tmp_path: Path) -> None:
    packed = pack(tmp_path / "packed", num_samples=20)
    run = build_small_run(packed, batch_size=17, drop_last=False, epochs=1)  # 18 training samples: one remains
    run.build_loop().fit(run.state)
    assert run.state.step == 1
