"""Selects the device, the precision, the memory format and the number of threads of a run."""

import contextlib
import ctypes
import os
import resource
import shutil
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from core.host_resources import count_usable_cores
from worker.engine.bf16_speed import is_faster_in_bf16

Precision = Literal["fp32", "bf16", "fp16"]
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # parameters of mallopt in glibc's malloc.h
COMPILERS = ("g++", "clang++", "c++")
RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss, see getrusage(2)


class DeviceUnavailable(ValueError):
    """This machine does not have the device or the compiler that the job requires."""


@dataclass(frozen=True)
class Placement:
    """A device, and the options for computing on it.

    Attributes:
        channels_last: store 4-d tensors as (B, H, W, C), the fastest format for convolutions on CPUs and tensor cores.
        threads: number of CPU threads of torch. Results are bit-identical only for equal numbers of threads.
    """

    device: torch.device
    precision: Precision
    threads: int
    channels_last: bool = True

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the autocast context manager for forward passes. It can be entered repeatedly."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def build_grad_scaler(self) -> torch.amp.GradScaler | None:
        """Return a gradient scaler, which keeps small fp16 gradients nonzero. For other precisions, return None."""
        return torch.amp.GradScaler(self.device.type) if self.precision == "fp16" else None

    def place_network(self, network: nn.Module) -> nn.Module:
        """Move the network to this device and memory format."""
        if not self.channels_last:
            return network.to(self.device)
        placed: nn.Module = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return placed

    def place_tensor(self, tensor: Tensor) -> Tensor:
        """Move a batch to this device. Copies to a GPU use pinned memory and are asynchronous."""
        return send_to_device(tensor, self.device)

    def describe(self) -> dict[str, Any]:
        """Return the device and its options as JSON values, for the job's `runtime`."""
        name = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else torch.backends.cpu.get_cpu_capability()
        )
        return {
            "device": str(self.device),
            "device_name": name,
            "precision": self.precision,
            "memory_format": "channels_last" if self.channels_last else "contiguous",
            "threads": self.threads,
            "torch": str(torch.__version__),
        }


def send_to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a tensor from the host to a device. Copies to a GPU use pinned memory and are asynchronous."""
    if device.type == "cpu":
        return tensor
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def build_placement(
    device: str = "auto", precision: str = "auto", threads: int | Literal["auto"] = "auto"
) -> Placement:
    """Build a placement from the job's options.

    Raises:
        DeviceUnavailable: this machine does not have the requested device.
    """
    torch_device = choose_device(device)
    count = count_usable_cores() if threads == "auto" else threads
    return Placement(torch_device, choose_precision(precision, torch_device), count)


def choose_device(requested: str) -> torch.device:
    """Return the requested device. `auto` is the first CUDA device, or the CPU if there is none."""
    num_cuda = torch.cuda.device_count() if requested.startswith(("auto", "cuda")) and torch.cuda.is_available() else 0
    if requested == "auto":
        return torch.device("cuda", 0) if num_cuda else torch.device("cpu")
    device = torch.device(requested)
    if device.type == "cuda" and (device.index or 0) >= num_cuda:
        raise DeviceUnavailable(f"device {requested!r} was requested; this machine has {num_cuda} CUDA devices")
    if device.type == "cuda":
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceUnavailable("device 'mps' was requested; this machine has no MPS device")
    return device


def choose_precision(requested: str, device: torch.device) -> Precision:
    """Return the requested precision. `auto` is bf16 if the device computes faster in it, otherwise fp32."""
    if requested != "auto":
        return requested  # type: ignore[return-value]  # the job spec accepts only these literals
    return "bf16" if _accelerates_bf16(device) else "fp32"


def _accelerates_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    if torch.backends.cpu.get_cpu_capability() != "AVX512":  # the variable ATEN_CPU_CAPABILITY can disable AVX-512
        return False
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(has_bf16) and is_faster_in_bf16()


def compile_in_place(network: nn.Module) -> None:
    """Compile the network at its first call. The names of its tensors do not change.

    Raises:
        DeviceUnavailable: this machine has no C++ compiler.
    """
    compilers = [name for name in (os.environ.get("CXX"), *COMPILERS) if name]
    if not any(shutil.which(name) for name in compilers):
        raise DeviceUnavailable(f"'compile' requires a C++ compiler; this machine has none of {', '.join(compilers)}")
    network.compile()


def get_peak_memory_bytes() -> int:
    """Return the peak memory of this process in bytes: GPU memory if there is a GPU, otherwise host memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT_BYTES


def use_device(device: torch.device) -> None:
    """Make the device the current CUDA device, so that torch does not initialize other GPUs."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def use_threads(count: int) -> None:
    """Set torch's number of CPU threads. A different number changes the order of additions and thus the rounding."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next step instead of returning it to the kernel."""
    with contextlib.suppress(OSError, AttributeError):  # the C library is not glibc
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_TOP_PAD, 64 * 2**20)
