"""What is done where a device has too little memory for a batch: fewer samples at a time, to the same step."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from worker.engine.averaging import BATCH_NORM

T = TypeVar("T")
Attempt = Callable[[int | None], T]
"""Does its work with at most so many samples at a time; None: with all of them."""


class OomBatchSplitter:
    """Halves the number of samples that are passed through the network at a time, as often as it takes.

    What was begun when the memory ran out is begun again as if it never had been: with the random numbers and running
    statistics that it began with. A snapshot holds the size, so that a resumed run does not find it out anew.

    Attributes:
        size: samples at a time; None: a whole batch.
        tell: is told of every halving, in words.
    """

    def __init__(self, network: nn.Module, size: int | None = None) -> None:
        """`size`: what the job accumulates anyway."""
        self.size = size
        self.tell: Callable[[str], object] = lambda text: None
        self._network = network
        self._needs_two = any(isinstance(module, BATCH_NORM) for module in network.modules())

    def run(self, attempt: Attempt[T], num_samples: int) -> T:
        """What the attempt makes of so many samples.

        Raises:
            torch.OutOfMemoryError: there is no memory even for the fewest samples that the network can take.
        """
        while True:
            before = _Mark(self._network)
            try:
                return attempt(self.size)
            except torch.OutOfMemoryError as error:
                failure = error.with_traceback(None)  # its frames hold the tensors that are in the way
            self._halve(num_samples, failure)
            before.put_back()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()  # in pieces of the old sizes it is of no use

    def _halve(self, num_samples: int, failure: torch.OutOfMemoryError) -> None:
        at_once = min(self.size or num_samples, num_samples)
        size = at_once // 2
        if size < 1 or (self._needs_two and num_samples // -(-num_samples // size) < 2):  # no variance of one
            raise failure
        self.size = size
        self.tell(
            f"The device had no memory left for {at_once} samples at a time: from now on the network is given {size} "
            f"at a time. A step is made of {num_samples} as before."
        )

    def state_dict(self) -> dict[str, Any]:
        return {"size": self.size}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.size = saved["size"]


class _Mark:
    """Where random numbers and running statistics stand."""

    def __init__(self, network: nn.Module) -> None:
        self._buffers: list[tuple[Tensor, Tensor]] = [(buffer, buffer.clone()) for buffer in network.buffers()]
        self._random = torch.get_rng_state()
        self._of_gpu = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    @torch.no_grad()
    def put_back(self) -> None:
        for buffer, before in self._buffers:
            buffer.copy_(before)
        torch.set_rng_state(self._random)
        if self._of_gpu is not None:
            torch.cuda.set_rng_state(self._of_gpu)
