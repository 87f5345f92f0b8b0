"""Steps: what alters the maths, and the hooks in between."""

from pathlib import Path

import pytest
import torch
from torch import nn

from models.preprocess import Preprocess
from tests.support.training import cpu, pack, recorder, run_of
from worker.engine.batch import Batch
from worker.engine.callback import CallbackHandler
from worker.engine.device import Placement
from worker.engine.metrics.accumulator import MetricAccumulator
from worker.engine.metrics.factory import adapter
from worker.engine.state import RunState
from worker.engine.steps import Clip, ForwardPass, TrainStep, ValidStep

BATCH = Batch(torch.arange(4 * 2 * 2, dtype=torch.uint8).reshape(4, 2, 2, 1), torch.tensor([0, 1, 0, 1]))


def new_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))


def step_of(
    network: nn.Module, *, clip: Clip | None = None, lr: float = 1.0, placement: Placement | None = None
) -> TrainStep:
    placement = placement or cpu()
    forward = ForwardPass(network, Preprocess([0.5], [0.5]), nn.CrossEntropyLoss(), placement)
    optimizer = torch.optim.SGD(network.parameters(), lr=lr)
    tally = MetricAccumulator({}, adapter("classification"))
    return TrainStep(forward, optimizer, tally, CallbackHandler(), scaler=placement.scaler(), clip=clip)


def moved(clip: Clip | None, placement: Placement | None = None) -> torch.Tensor:
    """By how much one step of SGD with a learning rate of 1 moves all parameters: the clipped gradient."""
    network = new_network()
    before = nn.utils.parameters_to_vector(network.parameters()).detach().clone()
    step_of(network, clip=clip, placement=placement)(BATCH, RunState(max_epochs=1, steps_per_epoch=1))
    return before - nn.utils.parameters_to_vector(network.parameters()).detach()


def test_a_step_calls_the_inner_hooks_in_luz_order() -> None:
    calls: list[str] = []
    network = new_network()
    step = step_of(network)
    step._call = CallbackHandler([recorder(calls)]).call
    step(BATCH, RunState(max_epochs=1, steps_per_epoch=1))
    inner = ["after_pred", "after_loss", "before_backward", "before_step", "after_step"]
    assert calls == [f"on_train_batch_{name}" for name in inner]


@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
def test_lbfgs_is_given_a_closure_and_one_dropout_mask_a_step(line_search: str | None) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 2))
    calls: list[str] = []
    step = step_of(network)
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=5, line_search_fn=line_search)
    step = TrainStep(step._forward, optimizer, step._tally, CallbackHandler([recorder(calls)]))
    network.train()
    random = torch.get_rng_state()
    state = RunState(max_epochs=1, steps_per_epoch=1)
    step(BATCH, state)
    after = torch.get_rng_state()
    assert calls.count("on_train_batch_before_step") == 1
    assert calls.count("on_train_batch_after_loss") > 2
    torch.set_rng_state(random)
    assert state.loss is not None
    assert step._forward.loss(step._forward.pred(BATCH.images), BATCH.targets) < state.loss  # on the same mask
    assert torch.equal(torch.get_rng_state(), after)


def test_gradients_are_clipped_by_their_norm_over_all_parameters() -> None:
    free = moved(None)
    assert free.norm() > 0.01
    clipped = moved(Clip(max_norm=0.01))
    assert clipped.norm().item() == pytest.approx(0.01, rel=1e-3)
    assert torch.allclose(clipped / clipped.norm(), free / free.norm(), atol=1e-4)


def test_gradients_are_clipped_by_value() -> None:
    assert moved(Clip(max_value=0.001)).abs().max().item() == pytest.approx(0.001, rel=1e-3)


def test_fp16_gradients_are_unscaled_before_they_are_clipped() -> None:
    half = cpu("fp16")
    free, clipped = moved(None, half), moved(Clip(max_norm=1e3), half)
    assert torch.allclose(free, clipped)  # the scaled ones have a norm of ten thousands


def test_ten_batches_of_eight_make_the_step_of_one_of_eighty(tmp_path: Path) -> None:
    packed = pack(tmp_path / "packed", num_samples=200)
    network = {"name": "convnet", "channels": [8], "batch_norm": False, "head": [16]}
    runs = [
        run_of(
            packed,
            architecture=network,
            optimizer={"name": "sgd", "lr": 0.1},  # Adam would not see gradients that are too large
            batch_size=size,
            accumulate_batches=count,
            epochs=2,
        )
        for size, count in ((80, 1), (8, 10))
    ]
    for run in runs:
        run.loop().fit(run.state)
        assert run.state.step == 4
    whole, parts = (nn.utils.parameters_to_vector(run.network.parameters()) for run in runs)
    assert torch.allclose(whole, parts, atol=1e-5)
    assert runs[1].state.metrics == pytest.approx(runs[0].state.metrics, abs=1e-5)


def test_parts_of_a_batch_are_as_equal_as_can_be() -> None:
    batch = Batch(torch.zeros(17, 1, 1, 1, dtype=torch.uint8), torch.arange(17))
    assert [len(part.targets) for part in batch.parts(8)] == [6, 6, 5]
    assert torch.equal(torch.cat([part.targets for part in batch.parts(8)]), batch.targets)


def test_validation_changes_neither_weights_nor_random_state() -> None:
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    forward = ForwardPass(network, Preprocess([0.5], [0.5]), nn.CrossEntropyLoss(), cpu())
    step = ValidStep(forward, MetricAccumulator({}, adapter("classification")), CallbackHandler())
    step.begin()
    step(BATCH, RunState(max_epochs=1, steps_per_epoch=1))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert step.end()["loss"] > 0


def test_a_last_batch_of_one_does_not_stop_batch_norm(tmp_path: Path) -> None:
    packed = pack(tmp_path / "packed", num_samples=20)
    run = run_of(packed, batch_size=17, drop_last=False, epochs=1)  # 18 to train on, so 1 is left
    run.loop().fit(run.state)
    assert run.state.step == 1
