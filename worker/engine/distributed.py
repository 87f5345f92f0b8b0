"""Data-parallel training: each process trains the network on a part of every batch. Any launcher can be used."""

import copy
import os
from dataclasses import replace
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from core.host_resources import count_usable_cores
from worker.engine.callback import Callback
from worker.engine.gradients import ProcessGroup
from worker.engine.run import Run
from worker.engine.state import RunState


class DistributedContext:
    """This process's rank among `world_size` processes. Without a process group of torch, there is one process."""

    def __init__(self) -> None:
        self.is_distributed = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if self.is_distributed else 0
        self.world_size = dist.get_world_size() if self.is_distributed else 1

    def distribute(self, run: Run) -> Run:
        """Return a copy of the run that trains on this rank's part of each batch and averages gradients over all ranks.

        Every rank validates all samples, so that the callbacks of all ranks make the same decisions.

        Raises:
            ValueError: a batch cannot be split evenly over the ranks.
        """
        if not self.is_distributed:
            return run
        device = [run.placement.device] if run.placement.device.type == "cuda" else None
        network = DistributedDataParallel(
            run.network,
            device_ids=device,
            forward_sync_buffers=False,  # `DistributedSyncCallback` syncs buffers once per epoch
            find_unused_parameters=any(callback.changes_trainable_parameters for callback in run.callbacks),
        )
        forward = copy.copy(run.forward)
        forward.network = network
        return replace(
            run,
            forward=forward,
            train_batches=run.train_batches.shard(self.rank, self.world_size),
            train_accumulator=run.train_accumulator.copy_with_gather(_all_gather),
            process_group=ProcessGroup(self.world_size, _all_reduce_sum),
            micro_batch_size=None if run.micro_batch_size is None else max(1, run.micro_batch_size // self.world_size),
        )

    def choose_num_threads(self, requested: int | Literal["auto"], slots: int = 1) -> int:
        """Return torch's number of CPU threads for this rank.

        With "auto", the cores are divided among the slots of the worker. Each rank takes a slot, if there are enough.
        """
        return max(1, count_usable_cores() // max(slots, self.world_size)) if requested == "auto" else requested

    def describe(self) -> dict[str, Any]:
        """Return the number of devices and the process IDs by rank, as JSON values. All ranks must call this."""
        if not self.is_distributed:
            return {}
        pids = _all_gather(torch.tensor([os.getpid()]))
        return {"devices": self.world_size, "rank_pids": pids.tolist()}

    def broadcast(self, number: float) -> float:
        """Return the number that rank 0 passes. All ranks must call this."""
        if not self.is_distributed:
            return number
        shared = torch.tensor([number], dtype=torch.float64)
        dist.broadcast(shared, 0)
        return float(shared)

    def build_observers(self, run: Run, seed: int) -> tuple[Callback, ...]:
        """Return the callbacks that synchronize the ranks. Add them after the callbacks that can stop the run."""
        return (DistributedSyncCallback(run, seed),) if self.is_distributed else ()


class DistributedSyncCallback(Callback):
    """Averages the loss over all ranks, gives each rank its own dropout masks, and stops all ranks after the same step.

    Rank 0 uses the same random numbers as a run in a single process. The random numbers of the other ranks depend only
    on (seed, rank, step), so that snapshots do not have to store them.
    """

    def __init__(self, run: Run, seed: int) -> None:
        self._network, self._seed = run.network, seed
        self._rank, self._world_size = dist.get_rank(), dist.get_world_size()

    def on_fit_begin(self, state: RunState) -> None:
        self._sync_stop_flags(state)

    def on_train_batch_begin(self, state: RunState) -> None:
        if self._rank:
            torch.manual_seed(hash((self._seed, self._rank, state.step)) % 2**63)

    def on_train_batch_after_step(self, state: RunState) -> None:
        assert state.loss is not None  # noqa: S101 - the training step sets `loss`
        dist.all_reduce(state.loss)
        state.loss /= self._world_size
        state.batch_size *= self._world_size

    def on_train_batch_end(self, state: RunState) -> None:
        self._sync_stop_flags(state)

    def on_train_end(self, state: RunState) -> None:
        for buffer in self._network.buffers():
            dist.broadcast(buffer, 0)

    def on_valid_batch_end(self, state: RunState) -> None:
        self._sync_stop_flags(state)

    def on_epoch_end(self, state: RunState) -> None:
        self._sync_stop_flags(state)

    def _sync_stop_flags(self, state: RunState) -> None:
        """Set a stop flag on all ranks if any rank has set it. The flags are on the CPU: no rank waits for a GPU."""
        local_flags = [state.is_interrupted, state.stop_immediately, state.stop_reason is not None]
        flags = torch.tensor(local_flags, dtype=torch.int32)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        interrupted, cut_short, stopped = flags.tolist()
        if interrupted:
            state.interrupt()
        if stopped:
            state.stop("another process of the job stopped", at_once=bool(cut_short))


def _all_reduce_sum(value: Tensor) -> Tensor:
    """Return the sum of `value` over all ranks. All ranks must call this."""
    total = value.detach().clone()
    dist.all_reduce(total)
    return total


def _all_gather(part: Tensor) -> Tensor:
    parts = [torch.empty_like(part) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, part.contiguous())
    return torch.cat(parts)
