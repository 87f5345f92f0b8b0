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

from worker.engine.batch import Batch
from worker.engine.device import Placement
from worker.engine.device_prefetch import DevicePrefetcher, PendingCopy, whole
from worker.engine.sampler import SEQUENTIAL, Index, SamplerConfig, balance_classes, batch_bounds
from worker.engine.transforms import (
    Stream,
    Transform,
    apply,
    apply_on_device,
    draw,
    draw_mix,
    generator,
    works_on_device,
)
from worker.engine.transforms.rng import Draws

CHUNK_BYTES = 2**20
PREFETCH_CHUNKS = 2


@dataclass(frozen=True)  # a tuple would already have an "index"
class ArraySource:
    """Pictures, uint8 (N, H, W, C), or rows or windows, float32; their targets; the samples that are meant.

    Targets are int64 (N,), or float32 (N, num_outputs). Weights are float32 (N,), where samples do not count the same.
    """

    images: NDArray[Any]
    targets: NDArray[Any]
    index: Index
    weights: NDArray[np.float32] | None = None


class Chunk(NamedTuple):
    """Some batches, and how they come to the device where they are still on the way."""

    batches: list[Batch]
    upload: PendingCopy | None = None


class ArrayDataLoader:
    """Batches of a source, in an order that (seed, epoch) decides.

    Pictures are gathered some batches at a time; where that is work worth sharing, by a thread that stays ahead.
    """

    def __init__(
        self,
        source: ArraySource,
        placement: Placement,
        batch_size: int,
        order: SamplerConfig = SEQUENTIAL,
        transforms: Sequence[Transform] = (),
        *,
        reads_ahead: bool | None = None,
    ) -> None:
        """`reads_ahead`: use a thread; unless given, where batches are transformed, copied to a GPU, or large."""
        self._images, self._index = source.images, source.index
        self._targets = torch.as_tensor(np.array(source.targets))
        self._weights = _relative(source)
        self._placement = placement
        self._order = order
        self._transforms = tuple(transforms)
        self._bounds = batch_bounds(len(self._index), batch_size, drop_last=order.drop_last)
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
        for chunk in _prefetch(chunks) if self._reads_ahead else chunks:
            if chunk.upload is not None:
                chunk.upload.wait()
            yield from chunk.batches

    def _ordered(self, number: int) -> Index:
        random = generator(self._order.seed, number, Stream.ORDER)
        match self._order.sampler:
            case "sequential":
                return self._index
            case "random":
                return random.permutation(self._index)
            case "weighted":
                return self._index[
                    balance_classes(self._targets.numpy().reshape(len(self._targets), -1)[self._index, 0], random)
                ]

    def _rows(self, order: Index, places: Index) -> Index:
        """Which random numbers belong to the samples at these places of an epoch's order: of each sample its own.

        One that comes several times must not be changed in the same way every time: it has those of its place.
        """
        return places if self._order.sampler == "weighted" else order[places]

    def _chunks(self, number: int, start: int) -> Iterator[Chunk]:
        order = self._ordered(number)
        uploader = DevicePrefetcher(self._placement.device) if self._placement.device.type == "cuda" else None
        draws, mix = self._draws(number), self._mix(number)
        for first in range(start, len(self._bounds), self._batches_per_chunk):
            edges = [self._mine(*edge) for edge in self._bounds[first : first + self._batches_per_chunk]]
            places = np.concatenate([np.arange(begin, end) for begin, end in edges])
            index, rows = order[places], self._rows(order, places)
            images = self._images[index]
            if draws is not None:
                images = apply(self._transforms, images, draws[rows])
            chosen = torch.from_numpy(index)
            given = {
                "images": torch.from_numpy(images),
                "targets": self._targets[chosen],
                "draws": None if mix is None else mix[torch.from_numpy(rows)],
                "weights": None if self._weights is None else self._weights[chosen],
            }
            tensors = {name: tensor for name, tensor in given.items() if tensor is not None}
            upload = None if uploader is None else uploader.start(list(tensors.values()))
            placed = map(self._placement.tensor, tensors.values()) if upload is None else upload.tensors
            sizes = [end - begin for begin, end in edges]
            split = zip(*(torch.split(tensor, sizes) for tensor in placed), strict=True)
            yield Chunk([Batch(**dict(zip(tensors, parts, strict=True))) for parts in split], upload)

    def _draws(self, number: int) -> Draws | None:
        return draw(self._transforms, len(self._images), self._order.seed, number) if self._transforms else None

    def _mix(self, number: int) -> Tensor | None:
        if self._order.mix_alpha is None:
            return None
        return torch.from_numpy(draw_mix(self._order.mix_alpha, len(self._images), self._order.seed, number))


class DeviceResidentDataLoader(ArrayDataLoader):
    """The same batches, of pictures that lie on the device whole and are changed there; for arrays that fit."""

    def __init__(
        self,
        source: ArraySource,
        placement: Placement,
        batch_size: int,
        order: SamplerConfig = SEQUENTIAL,
        transforms: Sequence[Transform] = (),
    ) -> None:
        """Transforms must all work on the device.

        Raises:
            ValueError: one works on the host alone.
        """
        if not all(map(works_on_device, transforms)):
            raise ValueError("pictures on a device cannot be changed by what works on the host alone")
        super().__init__(source, placement, batch_size, order, transforms, reads_ahead=False)
        self._resident = whole(source.images, placement)
        self._resident_targets = placement.tensor(self._targets)
        self._resident_weights = None if self._weights is None else placement.tensor(self._weights)

    def _chunks(self, number: int, start: int) -> Iterator[Chunk]:
        order = self._ordered(number)
        rows = self._rows(order, np.arange(len(order)))
        draws, mix = self._draws(number), self._mix(number)
        placed = self._placement.tensor(torch.from_numpy(order))
        placed_mix = None if mix is None else self._placement.tensor(mix[torch.from_numpy(rows)])
        for edge in self._bounds[start:]:
            mine = slice(*self._mine(*edge))
            index = placed[mine]
            images = self._resident[index]
            if draws is not None:
                images = apply_on_device(self._transforms, images, draws[rows[mine]])
            yield Chunk(
                [
                    Batch(
                        images,
                        self._resident_targets[index],
                        None if placed_mix is None else placed_mix[mine],
                        None if self._resident_weights is None else self._resident_weights[index],
                    )
                ]
            )


def _relative(source: ArraySource) -> Tensor | None:
    """Weights as shares of the largest that is meant: only ratios count, and sums cannot overflow."""
    if source.weights is None:
        return None
    largest = source.weights[source.index].max(initial=0.0)
    return torch.from_numpy(source.weights / (largest or 1.0))


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


def _prefetch(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The same chunks, made by a thread that is up to `NUM_AHEAD` ahead; it ends with the iterator."""
    ready: queue.Queue[Chunk | _End] = queue.Queue(PREFETCH_CHUNKS)
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
