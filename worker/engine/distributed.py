"""Several processes that train one network, each on its part of every batch; it knows no launcher."""

import copy
import os
from dataclasses import replace
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from worker.engine.callback import Callback
from worker.engine.callbacks import Freeze
from worker.engine.device import usable_cores
from worker.engine.metrics.accumulator import MetricAccumulator
from worker.engine.run import Run
from worker.engine.state import RunState


class DistributedContext:
    """This process among `count` that were started together; without torch's process group it is the only one."""

    def __init__(self) -> None:
        self.is_many = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if self.is_many else 0
        self.count = dist.get_world_size() if self.is_many else 1

    def distribute(self, run: Run) -> Run:
        """The same run, whose training steps see this rank's part of each batch and average gradients over all.

        Validation stays whole on every rank, so that all decide alike without asking.

        Raises:
            ValueError: a batch cannot be shared evenly.
        """
        if not self.is_many:
            return run
        device = [run.placement.device] if run.placement.device.type == "cuda" else None
        network = DistributedDataParallel(
            run.network,
            device_ids=device,
            forward_sync_buffers=False,  # one rank's until an epoch's end, see `Together`: else each forward would wait
            find_unused_parameters=any(isinstance(callback, Freeze) for callback in run.callbacks),
        )
        forward = copy.copy(run.forward)
        forward.network = network
        return replace(
            run,
            forward=forward,
            train_batches=run.train_batches.share(self.rank, self.count),
            train_tally=GatheredAccumulator(run.train_tally),
            num_ranks=self.count,
            add_up=_all_reduce_sum,
            part_size=None if run.part_size is None else max(1, run.part_size // self.count),
        )

    def threads(self, wish: int | Literal["auto"]) -> int | Literal["auto"]:
        """Of torch on the CPU for this rank: where nobody says how many, all ranks share the cores."""
        return max(1, usable_cores() // self.count) if wish == "auto" and self.is_many else wish

    def describe(self) -> dict[str, Any]:
        """For the job's record: the processes, in the order of ranks. All ranks must ask."""
        if not self.is_many:
            return {}
        pids = _all_gather(torch.tensor([os.getpid()]))
        return {"devices": self.count, "rank_pids": pids.tolist()}

    def broadcast(self, number: float) -> float:
        """Rank 0's number, on every rank; all must ask."""
        if not self.is_many:
            return number
        shared = torch.tensor([number], dtype=torch.float64)
        dist.broadcast(shared, 0)
        return float(shared)

    def observers(self, run: Run, seed: int) -> tuple[Callback, ...]:
        """What keeps the ranks together; to be called last."""
        return (DistributedSyncCallback(run, seed),) if self.is_many else ()


class GatheredAccumulator(MetricAccumulator):
    """A tally of whole batches, the same on all ranks: hence rank 0's snapshot is everybody's."""

    def __init__(self, tally: MetricAccumulator) -> None:
        vars(self).update(vars(tally))

    def update(self, pred: Tensor, target: Tensor, loss: Tensor, mass: Tensor | None = None) -> None:
        super().update(_all_gather(pred), _all_gather(target), loss, mass)


class DistributedSyncCallback(Callback):
    """Averages the loss that is told, gives each rank its own dropout, and lets all leave after the same step.

    Random numbers of the other ranks depend on (seed, rank, step) alone and belong to no snapshot; rank 0 goes on with
    its own, as if it were alone.
    """

    def __init__(self, run: Run, seed: int) -> None:
        self._network, self._seed = run.network, seed
        self._rank, self._count = dist.get_rank(), dist.get_world_size()

    def on_fit_begin(self, state: RunState) -> None:
        self._agree(state)

    def on_train_batch_begin(self, state: RunState) -> None:
        if self._rank:
            torch.manual_seed(hash((self._seed, self._rank, state.step)) % 2**63)

    def on_train_batch_after_step(self, state: RunState) -> None:
        assert state.loss is not None  # noqa: S101 - the step set it
        dist.all_reduce(state.loss)
        state.loss /= self._count
        state.batch_size *= self._count

    def on_train_batch_end(self, state: RunState) -> None:
        self._agree(state)

    def on_train_end(self, state: RunState) -> None:
        for buffer in self._network.buffers():
            dist.broadcast(buffer, 0)

    def on_valid_batch_end(self, state: RunState) -> None:
        self._agree(state)

    def on_epoch_end(self, state: RunState) -> None:
        self._agree(state)

    def _agree(self, state: RunState) -> None:
        """What one rank was asked for or decided by its clock, all do. Flags lie on the CPU: no GPU is waited for."""
        mine = [state.is_interrupted, state.stop_immediately, state.stop_reason is not None]
        flags = torch.tensor(mine, dtype=torch.int32)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        interrupted, cut_short, stopped = flags.tolist()
        if interrupted:
            state.interrupt()
        if stopped:
            state.stop("another process of the job stopped", at_once=bool(cut_short))


def _all_reduce_sum(mine: Tensor) -> Tensor:
    """The sum over all ranks, on every rank; all must ask."""
    total = mine.detach().clone()
    dist.all_reduce(total)
    return total


def _all_gather(part: Tensor) -> Tensor:
    parts = [torch.empty_like(part) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, part.contiguous())
    return torch.cat(parts)
