"""From packed arrays to batches on a device; order and augmentation depend on (seed, epoch, index) alone."""

import copy
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.device import Placement
from worker.engine.steps import Batch
from worker.engine.transforms import Stream, Transform, apply, draw, draw_mix, generator
from worker.engine.upload import Upload, Uploader, whole

CHUNK_BYTES = 2**20
NUM_AHEAD = 2
Index = NDArray[np.int64]


def bounds(num_samples: int, batch_size: int, *, drop_last: bool) -> list[tuple[int, int]]:
    """Where each batch of an epoch begins and ends.

    Fewer samples than a batch make one batch. A last batch of a single sample joins the one before it: batch norm
    has no variance of one.
    """
    num_whole, rest = divmod(num_samples, batch_size)
    edges = [(i * batch_size, (i + 1) * batch_size) for i in range(num_whole)]
    if rest == 0 or (drop_last and num_whole):
        return edges
    if rest == 1 and num_whole:
        return [*edges[:-1], (edges[-1][0], num_samples)]
    return [*edges, (num_whole * batch_size, num_samples)]


@dataclass(frozen=True)  # a tuple would already have an "index"
class Source:
    """Pictures, uint8 (N, H, W, C), or rows or windows, float32; their targets; the samples that are meant.

    Targets are int64 (N,), or float32 (N, num_outputs).
    """

    images: NDArray[Any]
    targets: NDArray[Any]
    index: Index


@dataclass(frozen=True)
class Order:
    """How samples come: as they lie, unless `shuffle`; `drop_last`: without a last batch that is not full.

    With `mix_alpha` batches carry what mixing needs: shares from Beta(alpha, alpha), and three uniform numbers.
    """

    seed: int = 0
    shuffle: bool = False
    drop_last: bool = False
    mix_alpha: float | None = None


class Chunk(NamedTuple):
    """Some batches, and how they come to the device where they are still on the way."""

    batches: list[Batch]
    upload: Upload | None = None


class ArrayBatches:
    """Batches of a source, in an order that (seed, epoch) decides.

    Pictures are gathered some batches at a time; where that is work worth sharing, by a thread that stays ahead.
    """

    def __init__(
        self,
        source: Source,
        placement: Placement,
        batch_size: int,
        order: Order = Order(),
        transforms: Sequence[Transform] = (),
        *,
        reads_ahead: bool | None = None,
    ) -> None:
        """`reads_ahead`: use a thread; unless given, where batches are transformed, copied to a GPU, or large."""
        self._images, self._index = source.images, source.index
        self._targets = torch.as_tensor(np.array(source.targets))
        self._placement = placement
        self._order = order
        self._transforms = tuple(transforms)
        self._bounds = bounds(len(self._index), batch_size, drop_last=order.drop_last)
        self._rank, self._num_ranks = 0, 1
        batch_bytes = batch_size * int(np.prod(self._images.shape[1:])) * self._images.itemsize
        self._batches_per_chunk = max(1, CHUNK_BYTES // max(1, batch_bytes))
        is_work = bool(transforms) or placement.device.type != "cpu" or batch_bytes > CHUNK_BYTES // 4
        self._reads_ahead = is_work if reads_ahead is None else reads_ahead

    def __len__(self) -> int:
        return len(self._bounds)

    def share(self, rank: int, count: int) -> Self:
        """The same batches, but of each only this rank's part: all parts in the order of ranks make the batch.

        Raises:
            ValueError: a batch has not as many samples as make equal parts.
        """
        uneven = [end - begin for begin, end in self._bounds if (end - begin) % count]
        if uneven:
            raise ValueError(f"a batch of {uneven[0]} samples cannot be shared evenly by {count} processes")
        shared = copy.copy(self)
        shared._rank, shared._num_ranks = rank, count
        return shared

    def _mine(self, begin: int, end: int) -> tuple[int, int]:
        size = (end - begin) // self._num_ranks
        return begin + self._rank * size, begin + (self._rank + 1) * size

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of that epoch, from batch `start` on: skipped by index, without reading any."""
        chunks = self._chunks(number, start)
        for chunk in _ahead(chunks) if self._reads_ahead else chunks:
            if chunk.upload is not None:
                chunk.upload.arrive()
            yield from chunk.batches

    def _ordered(self, number: int) -> Index:
        if not self._order.shuffle:
            return self._index
        return generator(self._order.seed, number, Stream.ORDER).permutation(self._index)

    def _chunks(self, number: int, start: int) -> Iterator[Chunk]:
        order = self._ordered(number)
        uploader = Uploader(self._placement.device) if self._placement.device.type == "cuda" else None
        draws = draw(self._transforms, len(self._images), self._order.seed, number) if self._transforms else None
        mix = self._mix(number)
        for first in range(start, len(self._bounds), self._batches_per_chunk):
            edges = [self._mine(*edge) for edge in self._bounds[first : first + self._batches_per_chunk]]
            index = np.concatenate([order[begin:end] for begin, end in edges])
            images = self._images[index]
            if draws is not None:
                images = apply(self._transforms, images, draws[index])
            chosen = torch.from_numpy(index)
            tensors = [torch.from_numpy(images), self._targets[chosen], *([] if mix is None else [mix[chosen]])]
            upload = None if uploader is None else uploader.start(tensors)
            placed = [self._placement.tensor(tensor) for tensor in tensors] if upload is None else upload.tensors
            sizes = [end - begin for begin, end in edges]
            split = [torch.split(tensor, sizes) for tensor in placed]
            yield Chunk([Batch(*parts) for parts in zip(*split, strict=True)], upload)

    def _mix(self, number: int) -> Tensor | None:
        if self._order.mix_alpha is None:
            return None
        return torch.from_numpy(draw_mix(self._order.mix_alpha, len(self._images), self._order.seed, number))


class ResidentBatches(ArrayBatches):
    """The same batches, of pictures that lie on the device whole; for arrays that fit, and need no transforms."""

    def __init__(
        self,
        source: Source,
        placement: Placement,
        batch_size: int,
        order: Order = Order(),
        transforms: Sequence[Transform] = (),
    ) -> None:
        if transforms:
            raise ValueError("resident pictures cannot be transformed")
        super().__init__(source, placement, batch_size, order, reads_ahead=False)
        self._resident = whole(source.images, placement)
        self._resident_targets = placement.tensor(self._targets)

    def _chunks(self, number: int, start: int) -> Iterator[Chunk]:
        order = self._placement.tensor(torch.from_numpy(self._ordered(number)))
        mix = self._mix(number)
        placed = None if mix is None else self._placement.tensor(mix)
        for edge in self._bounds[start:]:
            begin, end = self._mine(*edge)
            index = order[begin:end]
            draws = None if placed is None else placed[index]
            yield Chunk([Batch(self._resident[index], self._resident_targets[index], draws)])


def fits_on_device(images: NDArray[Any], placement: Placement) -> bool:
    """Whether the pictures take less than a quarter of a GPU's free memory."""
    if placement.device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(placement.device)
    return images.nbytes < free // 4


class _End:
    """What the reading thread puts last, with what went wrong there."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def _ahead(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The same chunks, made by a thread that is up to `NUM_AHEAD` ahead; it ends with the iterator."""
    ready: queue.Queue[Chunk | _End] = queue.Queue(NUM_AHEAD)
    is_over = threading.Event()

    def put(item: Chunk | _End) -> bool:
        while not is_over.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for chunk in chunks:
                if not put(chunk):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that trains
            put(_End(error))
            return
        put(_End(None))

    thread = threading.Thread(target=read, name="batches", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        is_over.set()
        thread.join()
