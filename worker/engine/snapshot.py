"""Writes and reads snapshots: folders of tensors and JSON, without pickle.

A run that resumes from a snapshot is bit-identical to an uninterrupted run.
"""

import errno
import hashlib
import json
import os
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from core.durable_files import fsync_path
from models.bundle import write_weights
from worker.engine.legacy_names import update_document
from worker.engine.optimizers import match_parameter_layout
from worker.engine.snapshot_buffers import CopyBuffers
from worker.engine.snapshot_checksums import BadSnapshot, write_checksums

WEIGHTS, STATE, METADATA = "weights.safetensors", "state.safetensors", "snapshot.json"
FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)  # version 1 uses the old names in `legacy_names`
RESERVE_BYTES = 8 * 2**20  # free space to leave for other programs, for example a database on the same disk
FileDigests = dict[str, tuple[str, int]]


class Stateful(Protocol):
    """An object whose state can be stored and restored."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...  # noqa: ANN401 - torch's return types differ


class RngState:
    """The state of the random number generators of torch (CPU and CUDA), NumPy and Python."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all generators."""
        name, keys, *rest = np.random.get_state(legacy=True)
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [str(name), np.asarray(keys).tolist(), *rest],
            "python": random.getstate(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        torch.set_rng_state(state_dict["torch"].cpu())
        if len(state_dict["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([state.cpu() for state in state_dict["cuda"]])
        name, keys, *rest = state_dict["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
        random.setstate(state_dict["python"])

    @staticmethod
    def seed(seed: int) -> None:
        """Seed all generators."""
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)


class SnapshotCapture(NamedTuple):
    """A snapshot in memory: the content of each file.

    Attributes:
        copied: a CUDA event that marks the end of copies from a GPU. None: no tensor is on a GPU.
    """

    weights: Mapping[str, Tensor]
    state: Mapping[str, Tensor]
    document: Mapping[str, Any]
    copied: torch.cuda.Event | None = None


def capture_snapshot(
    network: nn.Module,
    parts: Mapping[str, Stateful],
    metadata: Mapping[str, Any],
    buffers: CopyBuffers | None = None,
) -> SnapshotCapture:
    """Capture the state of a run. Without `buffers`, the capture contains the run's own tensors, not copies.

    With `buffers`, the tensors are copied. This function copies the network's buffers, and starts the copies of tensors
    on a GPU in stream order. `buffers.finish_copy` copies the other tensors. It must finish before the next optimizer
    step, which changes these tensors.

    Args:
        network: its weights and buffers are captured.
        parts: other objects with a state, keyed by name. Only an optimizer step may change their tensors in place.
        metadata: JSON values for readers of the snapshot, for example the number of threads.
        buffers: memory for the copies.
    """
    state: dict[str, Tensor] = {}
    tree = {name: _to_json(part.state_dict(), name, state) for name, part in parts.items()}
    document = {"format_version": FORMAT_VERSION, "metadata": metadata, "parts": tree}
    weights: dict[str, Tensor] = network.state_dict()
    if buffers is None:
        return SnapshotCapture(weights, state, document)
    tensors = {f"{WEIGHTS}/{name}": tensor for name, tensor in weights.items()} | state
    moving = {f"{WEIGHTS}/{name}" for name, _ in network.named_buffers()}
    copies = buffers.start_copy(tensors, [name for name, it in tensors.items() if it.is_cpu and name not in moving])
    copied = None
    if any(tensor.is_cuda for tensor in weights.values()):
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record()
    return SnapshotCapture(
        {name: copies[f"{WEIGHTS}/{name}"] for name in weights},
        {name: copies[name] for name in state},
        document,
        copied,
    )


def write_snapshot(
    folder: Path, network: nn.Module, parts: Mapping[str, Stateful], metadata: Mapping[str, Any]
) -> FileDigests:
    """Capture the run and write the snapshot immediately. See `capture_snapshot` and `write_capture`."""
    return write_capture(folder, capture_snapshot(network, parts, metadata))


def write_capture(folder: Path, capture: SnapshotCapture) -> FileDigests:
    """Write a snapshot durably and atomically: `folder` is either complete or does not exist.

    Returns:
        The sha256 and the size in bytes of each file.

    Raises:
        OSError: the files cannot be written, or the disk has too little free space. Space is checked before writing.
    """
    partial = folder.with_name(f".tmp-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _check_free_space(partial, capture)
        digests = _write_files(partial, capture)
        fsync_path(partial)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # free the space on a full disk
        raise
    fsync_path(folder.parent)
    return digests


def _check_free_space(folder: Path, capture: SnapshotCapture) -> None:
    needed = sum(tensor.nbytes for tensor in (*capture.weights.values(), *capture.state.values())) + RESERVE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"a snapshot needs {needed} bytes; {free} bytes are free", str(folder))


def wait_for_gpu(capture: SnapshotCapture) -> None:
    """Wait until copies from a GPU are complete."""
    if capture.copied is not None:
        capture.copied.synchronize()


def _write_files(folder: Path, capture: SnapshotCapture) -> FileDigests:
    wait_for_gpu(capture)
    hashes = {
        WEIGHTS: write_weights(folder / WEIGHTS, capture.weights),
        STATE: write_weights(folder / STATE, capture.state),
        METADATA: _write_json(folder / METADATA, capture.document),
    }
    write_checksums(folder, hashes)
    return {name: (sha256, (folder / name).stat().st_size) for name, sha256 in hashes.items()}


def _write_json(path: Path, document: Mapping[str, Any]) -> str:
    body = json.dumps(document, separators=(",", ":")).encode()
    with path.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(body).hexdigest()


def read_metadata(folder: Path) -> dict[str, Any]:
    """Return the metadata of a snapshot.

    Raises:
        BadSnapshot: the folder has no snapshot, or its format is unknown.
    """
    return dict(_read_document(folder)["metadata"])


def restore_snapshot(folder: Path, network: nn.Module, parts: Mapping[str, Stateful], device: torch.device) -> None:
    """Restore the network and all parts. `device`: the device to which the states of the parts are loaded.

    Raises:
        BadSnapshot: the files are damaged or belong to a different run.
    """
    tree = _read_document(folder)["parts"]
    if set(tree) != set(parts):
        raise BadSnapshot(f"the snapshot holds {sorted(tree)}; this run has {sorted(parts)}")
    states = read_parts(folder, device)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
        for name, part in parts.items():
            part.load_state_dict(states[name])
            if isinstance(part, torch.optim.Optimizer):
                match_parameter_layout(part)
    except (OSError, SafetensorError, RuntimeError, LookupError, TypeError, ValueError) as error:
        raise BadSnapshot(f"the snapshot cannot be restored: {error}") from error


def read_parts(folder: Path, device: torch.device) -> dict[str, Any]:
    """Return the states of all parts of a snapshot, keyed by name. The tensors are on `device`.

    Raises:
        BadSnapshot: the files are damaged.
    """
    tree = _read_document(folder)["parts"]
    try:
        tensors = load_file(folder / STATE, device=str(device))
        return {name: _from_json(document, tensors) for name, document in tree.items()}
    except (OSError, SafetensorError, LookupError) as error:
        raise BadSnapshot(f"the snapshot cannot be read: {error}") from error


def _read_document(folder: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads((folder / METADATA).read_bytes())
        version = document["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadSnapshot(f"{METADATA} cannot be read: {error}") from error
    if version not in READABLE_VERSIONS:
        raise BadSnapshot(f"the snapshot has format version {version}; supported: {READABLE_VERSIONS}")
    return update_document(document)


def _to_json(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:  # noqa: ANN401 - any state
    """Convert nested values to JSON, and add their tensors to `tensors`.

    Types that JSON lacks, such as tensors and tuples, become objects with one key that starts with "$".
    """
    match value:
        case Tensor():
            tensors[path] = value
            return {"$tensor": path}
        case dict():
            pairs = [[key, _to_json(item, f"{path}.{key}", tensors)] for key, item in value.items()]
            return dict(pairs) if all(isinstance(key, str) for key in value) else {"$dict": pairs}
        case tuple():
            return {"$tuple": _list_to_json(value, path, tensors)}
        case list():
            return _list_to_json(value, path, tensors)
        case None | bool() | int() | float() | str():
            return value  # json preserves every float, including NaN and infinities
        case np.generic():
            return value.item()
        case _:
            raise TypeError(f"{path} is a {type(value).__name__}; a snapshot can hold tensors and JSON values")


def _list_to_json(values: Sequence[Any], path: str, tensors: dict[str, Tensor]) -> list[Any]:
    if all(type(item) is int for item in values):  # fast path: generator states have hundreds of integers
        return list(values)
    return [_to_json(item, f"{path}.{i}", tensors) for i, item in enumerate(values)]


def _from_json(document: Any, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401 - any state
    match document:
        case {"$tensor": path}:
            return tensors[path]
        case {"$dict": pairs}:
            return {key: _from_json(item, tensors) for key, item in pairs}
        case {"$tuple": items}:
            return tuple(_from_json(item, tensors) for item in items)
        case dict():
            return {key: _from_json(item, tensors) for key, item in document.items()}
        case list():
            return [_from_json(item, tensors) for item in document]
        case _:
            return document
