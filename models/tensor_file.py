"""Tensors as one safetensors file, hashed on the way to the disk; it knows no network."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

DTYPES: dict[torch.dtype, str] = {  # in the order in which the format's own writer sorts them: widest first
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
RANK = {dtype: place for place, dtype in enumerate(DTYPES)}


def write(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write tensors of any device, stride and overlap, durably; equal values give equal bytes.

    Not `safetensors.save_file`, which neither hashes nor lets other threads run while it works. Source of the format:
    https://github.com/huggingface/safetensors#format.

    Returns:
        The file's sha256, in hexadecimal.

    Raises:
        TypeError: the format has no such dtype.
    """
    ordered = sorted(tensors.items(), key=lambda item: (_rank(*item), item[0]))
    digest = hashlib.sha256()
    with path.open("wb", buffering=0) as file:
        for part in _parts(ordered):
            digest.update(part)  # like the write below it lets other threads run
            left = part
            while left:
                left = left[file.write(left) :]
        os.fsync(file.fileno())
    return digest.hexdigest()


def _rank(name: str, tensor: Tensor) -> int:
    if tensor.dtype not in RANK:
        raise TypeError(f"{name} is of {tensor.dtype}, which safetensors has not")
    return RANK[tensor.dtype]


def _parts(ordered: list[tuple[str, Tensor]]) -> Iterator[memoryview]:
    """The header's length as 8 bytes, the header as JSON padded to a multiple of 8, and every tensor's bytes."""
    places, end = {}, 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.numel() * tensor.element_size()
        places[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    header = json.dumps(places, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    yield memoryview(len(header).to_bytes(8, "little") + header)
    for _, tensor in ordered:
        if tensor.numel():
            plain = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
            yield memoryview(plain.numpy())  # type: ignore[arg-type]  # typeshed's Buffer; numpy's arrays are one
