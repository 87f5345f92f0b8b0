"""Loads batches from packed arrays to a device. Order and augmentation depend only on seed, epoch and sample index."""

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
from worker.engine.device_prefetch import DevicePrefetcher, PendingCopy, copy_in_chunks
from worker.engine.sampler import SEQUENTIAL, Index, SamplerConfig, balance_classes, batch_bounds
from worker.engine.transforms import (
    RngStream,
    Transform,
    apply_transforms,
    apply_transforms_on_device,
    build_generator,
    draw_mix_params,
    draw_random_params,
    supports_device,
)
from worker.engine.transforms.rng import RandomParams

CHUNK_BYTES = 2**20
PREFETCH_CHUNKS = 2


@dataclass(frozen=True)  # not a NamedTuple: tuples already have a method `index`
class ArraySource:
    """Samples, their targets, and the indices of the samples to use.

    Attributes:
        images: uint8 images (N, H, W, C), float32 rows (N, F) or float32 windows (N, T, F).
        targets: int64 classes (N,), or float32 (N, num_outputs).
        index: the indices of the samples to use.
        weights: weights of the samples, float32 (N,). None: every sample has weight 1.
    """

    images: NDArray[Any]
    targets: NDArray[Any]
    index: Index
    weights: NDArray[np.float32] | None = None


class Chunk(NamedTuple):
    """Several batches. `upload`: their pending copy to a GPU, or None if there is nothing to wait for."""

    batches: list[Batch]
    upload: PendingCopy | None = None


class ArrayDataLoader:
    """Iterates over the batches of an `ArraySource`. The seed and the epoch determine the order.

    Batches are loaded in chunks of several batches. A thread can prefetch the chunks.
    """

    def __init__(
        self,
        source: ArraySource,
        placement: Placement,
        batch_size: int,
        order: SamplerConfig = SEQUENTIAL,
        transforms: Sequence[Transform] = (),
        *,
        prefetch: bool | None = None,
    ) -> None:
        """`prefetch`: load chunks in a thread. Default: True if batches are transformed, large, or copied to a GPU."""
        self._images, self._index = source.images, source.index
        self._targets = torch.as_tensor(np.array(source.targets))
        self._weights = _normalize_weights(source)
        self._placement = placement
        self._order = order
        self._transforms = tuple(transforms)
        self._bounds = batch_bounds(len(self._index), batch_size, drop_last=order.drop_last)
        self._batch_size = batch_size
        self._rank, self._num_ranks = 0, 1
        batch_bytes = batch_size * int(np.prod(self._images.shape[1:])) * self._images.itemsize
        self._batches_per_chunk = max(1, CHUNK_BYTES // max(1, batch_bytes))
        is_work = bool(transforms) or placement.device.type != "cpu" or batch_bytes > CHUNK_BYTES // 4
        self._prefetches = is_work if prefetch is None else prefetch

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._bounds)

    @property
    def batch_size(self) -> int:
        """The number of samples of a batch that is not the last one."""
        return self._batch_size

    @property
    def sample_index(self) -> Index:
        """The indices of the samples to use."""
        return self._index

    def read_images(self, index: Index) -> Tensor:
        """Return the images of these samples on the device, uint8 (B, H, W, C), without transforms."""
        return self._placement.place_tensor(torch.from_numpy(self._images[index]))

    def get_targets(self) -> Tensor:
        """Return the targets of the selected samples: classes (N,) or values (N, num_outputs)."""
        return self._targets[torch.as_tensor(self._index)]

    def shard(self, rank: int, num_shards: int) -> Self:
        """Return a loader that yields the part of each batch that belongs to `rank`.

        The parts of ranks 0 to `num_shards` - 1, concatenated, are the whole batch.

        Raises:
            ValueError: a batch cannot be split into equal parts.
        """
        uneven = [end - start for start, end in self._bounds if (end - start) % num_shards]
        if uneven:
            raise ValueError(f"a batch of {uneven[0]} samples cannot be split evenly over {num_shards} processes")
        shared = copy.copy(self)
        shared._rank, shared._num_ranks = rank, num_shards
        return shared

    def _get_shard_bounds(self, start: int, end: int) -> tuple[int, int]:
        size = (end - start) // self._num_ranks
        return start + self._rank * size, start + (self._rank + 1) * size

    def iter_epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of epoch `number`, from batch `start` on. Earlier batches are not read."""
        chunks = self._iter_chunks(number, start)
        for chunk in _prefetch_chunks(chunks) if self._prefetches else chunks:
            if chunk.upload is not None:
                chunk.upload.wait()
            yield from chunk.batches

    def _order_samples(self, number: int) -> Index:
        random = build_generator(self._order.seed, number, RngStream.SAMPLE_ORDER)
        match self._order.sampler:
            case "sequential":
                return self._index
            case "random":
                return random.permutation(self._index)
            case "weighted":
                return self._index[
                    balance_classes(self._targets.numpy().reshape(len(self._targets), -1)[self._index, 0], random)
                ]

    def _get_random_rows(self, order: Index, positions: Index) -> Index:
        """Return the row of the random parameters to use at each position of the epoch.

        The row is the index of the sample. The weighted sampler repeats samples: the row is then the position, so that
        repeated samples are augmented differently.
        """
        return positions if self._order.sampler == "weighted" else order[positions]

    def _iter_chunks(self, number: int, start: int) -> Iterator[Chunk]:
        order = self._order_samples(number)
        uploader = DevicePrefetcher(self._placement.device) if self._placement.device.type == "cuda" else None
        random_params, mix_params = self._draw_random_params(number), self._draw_mix_params(number)
        for first in range(start, len(self._bounds), self._batches_per_chunk):
            edges = [self._get_shard_bounds(*edge) for edge in self._bounds[first : first + self._batches_per_chunk]]
            positions = np.concatenate([np.arange(start, end) for start, end in edges])
            index, rows = order[positions], self._get_random_rows(order, positions)
            images = self._images[index]
            if random_params is not None:
                images = apply_transforms(self._transforms, images, random_params[rows])
            index_tensor = torch.from_numpy(index)
            fields = {
                "images": torch.from_numpy(images),
                "targets": self._targets[index_tensor],
                "mix_params": None if mix_params is None else mix_params[torch.from_numpy(rows)],
                "weights": None if self._weights is None else self._weights[index_tensor],
            }
            tensors = {name: tensor for name, tensor in fields.items() if tensor is not None}
            upload = None if uploader is None else uploader.start(list(tensors.values()))
            placed = map(self._placement.place_tensor, tensors.values()) if upload is None else upload.tensors
            sizes = [end - start for start, end in edges]
            split = zip(*(torch.split(tensor, sizes) for tensor in placed), strict=True)
            yield Chunk([Batch(**dict(zip(tensors, parts, strict=True))) for parts in split], upload)

    def _draw_random_params(self, number: int) -> RandomParams | None:
        return (
            draw_random_params(self._transforms, len(self._images), self._order.seed, number)
            if self._transforms
            else None
        )

    def _draw_mix_params(self, number: int) -> Tensor | None:
        if self._order.mix_alpha is None:
            return None
        return torch.from_numpy(draw_mix_params(self._order.mix_alpha, len(self._images), self._order.seed, number))


class DeviceResidentDataLoader(ArrayDataLoader):
    """Yields the same batches as `ArrayDataLoader`, but stores all samples on the device and augments them there."""

    def __init__(
        self,
        source: ArraySource,
        placement: Placement,
        batch_size: int,
        order: SamplerConfig = SEQUENTIAL,
        transforms: Sequence[Transform] = (),
    ) -> None:
        """Copy the source to the device. All transforms must be able to run on a device.

        Raises:
            ValueError: a transform cannot run on a device.
        """
        if not all(map(supports_device, transforms)):
            raise ValueError("the device-resident data loader requires transforms that can run on a device; one cannot")
        super().__init__(source, placement, batch_size, order, transforms, prefetch=False)
        self._resident = copy_in_chunks(source.images, placement)
        self._resident_targets = placement.place_tensor(self._targets)
        self._resident_weights = None if self._weights is None else placement.place_tensor(self._weights)

    def _iter_chunks(self, number: int, start: int) -> Iterator[Chunk]:
        order = self._order_samples(number)
        rows = self._get_random_rows(order, np.arange(len(order)))
        random_params, mix_params = self._draw_random_params(number), self._draw_mix_params(number)
        placed = self._placement.place_tensor(torch.from_numpy(order))
        placed_mix = None if mix_params is None else self._placement.place_tensor(mix_params[torch.from_numpy(rows)])
        for edge in self._bounds[start:]:
            shard = slice(*self._get_shard_bounds(*edge))
            index = placed[shard]
            images = self._resident[index]
            if random_params is not None:
                images = apply_transforms_on_device(self._transforms, images, random_params[rows[shard]])
            yield Chunk(
                [
                    Batch(
                        images,
                        self._resident_targets[index],
                        None if placed_mix is None else placed_mix[shard],
                        None if self._resident_weights is None else self._resident_weights[index],
                    )
                ]
            )


def _normalize_weights(source: ArraySource) -> Tensor | None:
    """Return the weights divided by the largest weight in use, so that sums cannot overflow. Their ratios are kept."""
    if source.weights is None:
        return None
    largest = source.weights[source.index].max(initial=0.0)
    return torch.from_numpy(source.weights / (largest or 1.0))


def fits_on_device(images: NDArray[Any], placement: Placement) -> bool:
    """Return True if the device is a CUDA GPU and the images need less than a quarter of its free memory."""
    if placement.device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(placement.device)
    return images.nbytes < free // 4


class _EndOfChunks:
    """Marks the end of the queue of chunks. Contains the error that ended the reading thread, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def _prefetch_chunks(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """Yield chunks while a thread reads up to `PREFETCH_CHUNKS` chunks ahead. Closing the iterator ends the thread."""
    ready: queue.Queue[Chunk | _EndOfChunks] = queue.Queue(PREFETCH_CHUNKS)
    is_over = threading.Event()

    def put(item: Chunk | _EndOfChunks) -> bool:
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
        except BaseException as error:  # noqa: BLE001 - re-raised in the training thread
            put(_EndOfChunks(error))
            return
        put(_EndOfChunks(None))

    thread = threading.Thread(target=read, name="batches", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _EndOfChunks):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        is_over.set()
        thread.join()
