"""Writes tensors to a safetensors file and computes the file's hash at the same time."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

DTYPES: dict[torch.dtype, str] = {  # in the order in which the safetensors library sorts tensors: widest dtypes first
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


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write tensors and fsync the file. The bytes depend only on the values, not on devices, strides or shared memory.

    Unlike `safetensors.save_file`, this function computes a hash and releases the GIL. Format:
    https://github.com/huggingface/safetensors#format.

    Returns:
        The file's sha256, in hexadecimal.

    Raises:
        TypeError: a tensor has a dtype that safetensors does not support.
    """
    ordered = sorted(tensors.items(), key=lambda item: (_get_dtype_rank(*item), item[0]))
    digest = hashlib.sha256()
    with path.open("wb", buffering=0) as file:
        for part in _iterate_parts(ordered):
            digest.update(part)  # both hashing and writing release the GIL
            remaining = part
            while remaining:
                remaining = remaining[file.write(remaining) :]
        os.fsync(file.fileno())
    return digest.hexdigest()


def _get_dtype_rank(name: str, tensor: Tensor) -> int:
    if tensor.dtype not in RANK:
        raise TypeError(f"{name} has dtype {tensor.dtype}, which safetensors does not support")
    return RANK[tensor.dtype]


def _iterate_parts(ordered: list[tuple[str, Tensor]]) -> Iterator[memoryview]:
    """Yield the header length (8 bytes), the JSON header padded to a multiple of 8, and the bytes of every tensor."""
    entries, end = {}, 0
    for name, tensor in ordered:
        start, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    yield memoryview(len(header).to_bytes(8, "little") + header)
    for _, tensor in ordered:
        if tensor.numel():
            plain = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
            yield memoryview(plain.numpy())  # type: ignore[arg-type]  # numpy arrays implement typeshed's Buffer
