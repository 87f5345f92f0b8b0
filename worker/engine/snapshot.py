"""Everything needed to resume bit-equal, as tensors and JSON in a folder; nothing is pickled."""

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

from models.bundle import write_weights
from worker.engine.optimizers import lay_out_like_parameters
from worker.engine.snapshot_buffers import CopyBuffers
from worker.engine.snapshot_checksums import BadSnapshot, write_sums

WEIGHTS, STATE, METADATA = "weights.safetensors", "state.safetensors", "snapshot.json"
FORMAT_VERSION = 1
RESERVE_BYTES = 8 * 2**20  # left to whoever else writes there: a full disk stops a database, too
Facts = dict[str, tuple[str, int]]


class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, saved: dict[str, Any]) -> Any: ...  # noqa: ANN401 - torch's optimizers and networks differ


class RngState:
    """The generators of torch (CPU and every CUDA device), numpy and python."""

    def state_dict(self) -> dict[str, Any]:
        name, keys, *rest = np.random.get_state(legacy=True)
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [str(name), np.asarray(keys).tolist(), *rest],
            "python": random.getstate(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        torch.set_rng_state(saved["torch"].cpu())
        if len(saved["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([state.cpu() for state in saved["cuda"]])
        name, keys, *rest = saved["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
        random.setstate(saved["python"])

    @staticmethod
    def seed(seed: int) -> None:
        """Start all of them from one number."""
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)


class SnapshotCapture(NamedTuple):
    """A snapshot in memory: what each file will hold, and when copies from a GPU are complete."""

    weights: Mapping[str, Tensor]
    state: Mapping[str, Tensor]
    document: Mapping[str, Any]
    copied: torch.cuda.Event | None = None


def capture(
    network: nn.Module,
    parts: Mapping[str, Stateful],
    words: Mapping[str, Any],
    buffers: CopyBuffers | None = None,
) -> SnapshotCapture:
    """The run as it is now; without buffers its tensors are the live ones, and change with them.

    With buffers, what nothing but an optimizer step changes is copied by their `finish`, before which no step must be
    made: all but what is on a GPU, whose copies wait in its queue, and the network's own buffers, to which a forward
    pass adds. `parts` is what else has a state, by name: of their tensors none may change in place but by a step.
    `words` are JSON values for whoever reads it: thread count and so on.
    """
    state: dict[str, Tensor] = {}
    tree = {name: _words(part.state_dict(), name, state) for name, part in parts.items()}
    document = {"format_version": FORMAT_VERSION, "words": words, "parts": tree}
    weights: dict[str, Tensor] = network.state_dict()
    if buffers is None:
        return SnapshotCapture(weights, state, document)
    tensors = {f"{WEIGHTS}/{name}": tensor for name, tensor in weights.items()} | state
    moving = {f"{WEIGHTS}/{name}" for name, _ in network.named_buffers()}
    copies = buffers.begin(tensors, [name for name, it in tensors.items() if it.is_cpu and name not in moving])
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


def write(folder: Path, network: nn.Module, parts: Mapping[str, Stateful], words: Mapping[str, Any]) -> Facts:
    """Write the run as it is, at once; see `freeze` and `write_frozen`."""
    return write_frozen(folder, capture(network, parts, words))


def write_frozen(folder: Path, frozen: SnapshotCapture) -> Facts:
    """Write a snapshot; `folder` appears whole or not at all, and durably.

    Returns:
        The sha256 and the size in bytes of each file.

    Raises:
        OSError: there is no room; found before anything is written, where it can be.
    """
    partial = folder.with_name(f".tmp-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _need_room(partial, frozen)
        facts = _write_files(partial, frozen)
        _fsync(partial)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # a full disk needs the room back
        raise
    _fsync(folder.parent)
    return facts


def _need_room(folder: Path, frozen: SnapshotCapture) -> None:
    needed = sum(tensor.nbytes for tensor in (*frozen.weights.values(), *frozen.state.values())) + RESERVE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"a snapshot needs {needed} bytes, and {free} are free", str(folder))


def wait_for_gpu(frozen: SnapshotCapture) -> None:
    """Wait until copies from a GPU are complete."""
    if frozen.copied is not None:
        frozen.copied.synchronize()


def _write_files(folder: Path, frozen: SnapshotCapture) -> Facts:
    wait_for_gpu(frozen)
    hashes = {
        WEIGHTS: write_weights(folder / WEIGHTS, frozen.weights),
        STATE: write_weights(folder / STATE, frozen.state),
        METADATA: _write_json(folder / METADATA, frozen.document),
    }
    write_sums(folder, hashes)
    return {name: (sha256, (folder / name).stat().st_size) for name, sha256 in hashes.items()}


def _write_json(path: Path, document: Mapping[str, Any]) -> str:
    body = json.dumps(document, separators=(",", ":")).encode()
    with path.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(body).hexdigest()


def read_metadata(folder: Path) -> dict[str, Any]:
    """The `words` of a snapshot.

    Raises:
        BadSnapshot: there is none, or of an unknown format.
    """
    return dict(_document(folder)["words"])


def restore(folder: Path, network: nn.Module, parts: Mapping[str, Stateful], device: torch.device) -> None:
    """Put the network and all parts where they were; `device` is where they compute.

    Raises:
        BadSnapshot: the files are damaged, or of another run.
    """
    tree = _document(folder)["parts"]
    if set(tree) != set(parts):
        raise BadSnapshot(f"the snapshot holds {sorted(tree)}; this run has {sorted(parts)}")
    states = read_parts(folder, device)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
        for name, part in parts.items():
            part.load_state_dict(states[name])
            if isinstance(part, torch.optim.Optimizer):
                lay_out_like_parameters(part)
    except (OSError, SafetensorError, RuntimeError, LookupError, TypeError, ValueError) as error:
        raise BadSnapshot(f"the snapshot cannot be restored: {error}") from error


def read_parts(folder: Path, device: torch.device) -> dict[str, Any]:
    """The states of all parts of a snapshot by their names, their tensors on the device.

    Raises:
        BadSnapshot: the files are damaged.
    """
    tree = _document(folder)["parts"]
    try:
        tensors = load_file(folder / STATE, device=str(device))
        return {name: _value(words, tensors) for name, words in tree.items()}
    except (OSError, SafetensorError, LookupError) as error:
        raise BadSnapshot(f"the snapshot cannot be read: {error}") from error


def _document(folder: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads((folder / METADATA).read_bytes())
        version = document["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadSnapshot(f"{METADATA} cannot be read: {error}") from error
    if version != FORMAT_VERSION:
        raise BadSnapshot(f"the snapshot has format {version}; this program reads {FORMAT_VERSION}")
    return document


def _words(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:  # noqa: ANN401 - any state
    """JSON for any nesting of tensors and plain values; what JSON has not, it wraps in an object of one "$" key."""
    match value:
        case Tensor():
            tensors[path] = value
            return {"$tensor": path}
        case dict():
            pairs = [[key, _words(item, f"{path}.{key}", tensors)] for key, item in value.items()]
            return dict(pairs) if all(isinstance(key, str) for key in value) else {"$dict": pairs}
        case tuple():
            return {"$tuple": _items(value, path, tensors)}
        case list():
            return _items(value, path, tensors)
        case None | bool() | int() | float() | str():
            return value  # json writes every float so that it reads back the same, NaN and infinities too
        case np.generic():
            return value.item()
        case _:
            raise TypeError(f"{path} is a {type(value).__name__}; a snapshot holds tensors and JSON")


def _items(values: Sequence[Any], path: str, tensors: dict[str, Tensor]) -> list[Any]:
    if all(type(item) is int for item in values):  # states of random numbers are hundreds of them
        return list(values)
    return [_words(item, f"{path}.{i}", tensors) for i, item in enumerate(values)]


def _value(words: Any, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401 - any state
    match words:
        case {"$tensor": path}:
            return tensors[path]
        case {"$dict": pairs}:
            return {key: _value(item, tensors) for key, item in pairs}
        case {"$tuple": items}:
            return tuple(_value(item, tensors) for item in items)
        case dict():
            return {key: _value(item, tensors) for key, item in words.items()}
        case list():
            return [_value(item, tensors) for item in words]
        case _:
            return words


def _fsync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
