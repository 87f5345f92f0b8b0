"""Recovers from out-of-memory errors: repeats the step with fewer samples per forward pass."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from worker.engine.averaging import BATCH_NORM

T = TypeVar("T")
Operation = Callable[[int | None], T]
"""Argument: the maximum number of samples per forward pass. None: all samples."""


class OomBatchSplitter:
    """Halves the number of samples per forward pass until they fit into memory.

    Before a retry, the random number generators and the network's buffers are restored. Snapshots contain `size`, so
    that a resumed run starts with the reduced size.

    Attributes:
        size: samples per forward pass. None: the whole batch.
        on_split: called with a message after every reduction of `size`.
    """

    def __init__(self, network: nn.Module, size: int | None = None) -> None:
        """`size`: the initial number of samples per forward pass (default: the whole batch)."""
        self.size = size
        self.on_split: Callable[[str], object] = lambda text: None
        self._network = network
        self._needs_two = any(isinstance(module, BATCH_NORM) for module in network.modules())

    def run(self, attempt: Operation[T], num_samples: int) -> T:
        """Run the operation on `num_samples` samples and return its result. After an OOM, retry with a smaller size.

        Raises:
            torch.OutOfMemoryError: even the smallest possible size does not fit into memory.
        """
        while True:
            checkpoint = _RngAndBuffers(self._network)
            try:
                return attempt(self.size)
            except torch.OutOfMemoryError as error:
                failure = error.with_traceback(None)  # the traceback's frames keep tensors in memory
            self._halve_size(num_samples, failure)
            checkpoint.restore()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()  # cached blocks of the old sizes cannot be reused

    def _halve_size(self, num_samples: int, failure: torch.OutOfMemoryError) -> None:
        at_once = min(self.size or num_samples, num_samples)
        size = at_once // 2
        if size < 1 or (self._needs_two and num_samples // -(-num_samples // size) < 2):  # batch norm needs two samples
            raise failure
        self.size = size
        self.on_split(
            f"The device ran out of memory with {at_once} samples per forward pass. The run continues with {size}. "
            f"A step still uses {num_samples} samples."
        )

    def state_dict(self) -> dict[str, Any]:
        return {"size": self.size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.size = state_dict["size"]


class _RngAndBuffers:
    """A copy of the states of the random number generators and of the network's buffers."""

    def __init__(self, network: nn.Module) -> None:
        self._buffers: list[tuple[Tensor, Tensor]] = [(buffer, buffer.clone()) for buffer in network.buffers()]
        self._rng_state = torch.get_rng_state()
        self._cuda_rng_state = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    @torch.no_grad()
    def restore(self) -> None:
        """Restore the copied state."""
        for buffer, before in self._buffers:
            buffer.copy_(before)
        torch.set_rng_state(self._rng_state)
        if self._cuda_rng_state is not None:
            torch.cuda.set_rng_state(self._cuda_rng_state)
