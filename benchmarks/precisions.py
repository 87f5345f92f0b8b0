"""Compares the precisions and memory formats in which a CPU can train, for four networks.

    .venv/bin/python benchmarks/precisions.py [--rounds 7] [--networks convnet,mobilenet_v3_small]
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 .venv/bin/python benchmarks/precisions.py   # as without AVX-512

Each round trains one step with every variant on one thread, with plain torch and fused Adam. The figures are CPU times
of the fastest step, so that other processes change them little. `precision: "auto"` of a job chooses between the two
variants that can be the fastest: bf16 and fp32, both channels_last.
"""

import argparse
import copy
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torchvision
from torch import Tensor, nn


class Variant(NamedTuple):
    """A memory format, whether autocast computes in bf16, and oneDNN's mode for operations in fp32."""

    channels_last: bool = False
    autocast: bool = False
    fp32_mode: str = "ieee"


VARIANTS = {
    "fp32 contiguous": Variant(),
    "fp32": Variant(channels_last=True),
    "fp32, bf16 mode": Variant(channels_last=True, fp32_mode="bf16"),
    "bf16 contiguous": Variant(autocast=True),
    "bf16": Variant(channels_last=True, autocast=True),
}


def build_convnet() -> nn.Module:
    """Build CONV5 without its normalization: five convolutions and three linear layers, for 64x64 images."""
    sizes = (3, 64, 128, 256, 512, 1024)
    layers: list[nn.Module] = []
    for num_in, num_out in pairwise(sizes):
        layers += [nn.Conv2d(num_in, num_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(4096, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 200)]
    return nn.Sequential(*layers)


def build_small() -> nn.Module:
    """Build SMALL: two convolutions and two linear layers, for 28x28 images in gray."""
    convolutions = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10))


def build_resnet() -> nn.Module:
    """Build ResNet-18 in its form for 32x32 images."""
    network = torchvision.models.resnet18(num_classes=10)
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convnet": (build_convnet, (32, 3, 64, 64)),
    "small": (build_small, (64, 1, 28, 28)),
    "resnet18": (build_resnet, (32, 3, 32, 32)),
    "mobilenet_v3_small": (lambda: torchvision.models.mobilenet_v3_small(num_classes=10), (32, 3, 96, 96)),
}


@contextmanager
def use_fp32_mode(mode: str) -> Iterator[None]:
    """Set oneDNN's mode for convolutions and matrix products in fp32."""
    backends: Any = (torch.backends.mkldnn.conv, torch.backends.mkldnn.matmul)
    for backend in backends:
        backend.fp32_precision = mode
    try:
        yield
    finally:
        for backend in backends:
            backend.fp32_precision = "ieee"


class Trainer:
    """A copy of a network, trained in one variant."""

    def __init__(self, network: nn.Module, inputs: Tensor, variant: Variant) -> None:
        memory_format = torch.channels_last if variant.channels_last else torch.contiguous_format
        self._network = copy.deepcopy(network).to(memory_format=memory_format)  # type: ignore[call-overload]
        self._inputs = inputs.to(memory_format=memory_format)
        self._targets = torch.arange(len(inputs)) % 10
        self._optimizer = torch.optim.Adam(self._network.parameters(), fused=True)
        self._variant = variant

    def measure_step(self) -> float:
        """Train one step, and return its CPU seconds."""
        autocast: AbstractContextManager[Any] = nullcontext()
        if self._variant.autocast:
            autocast = torch.autocast("cpu", torch.bfloat16)
        started_at = time.thread_time()
        with use_fp32_mode(self._variant.fp32_mode):
            self._optimizer.zero_grad()
            with autocast:
                logits = self._network(self._inputs)
            nn.functional.cross_entropy(logits.float(), self._targets).backward()
            self._optimizer.step()
        return time.thread_time() - started_at


def can_measure(variant: Variant) -> bool:
    """Return whether the processor has bf16, if the variant needs it: its emulation takes 15 times as long as fp32."""
    return not variant.autocast or torch.backends.cpu.get_cpu_capability() not in {"DEFAULT", "AVX2"}


def measure(name: str, rounds: int) -> dict[str, float]:
    """Return the CPU seconds of the fastest step of a network, by variant."""
    build, shape = NETWORKS[name]
    network, inputs = build(), torch.randn(shape)
    trainers = {name: Trainer(network, inputs, it) for name, it in VARIANTS.items() if can_measure(it)}
    times: dict[str, list[float]] = {name: [] for name in trainers}
    for _ in range(rounds + 1):  # the first step of each also prepares the libraries and the memory
        for name, trainer in trainers.items():
            times[name].append(trainer.measure_step())
    return {name: min(seconds[1:]) for name, seconds in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{torch.backends.cpu.get_cpu_capability()}, one thread, {options.rounds} rounds; CPU ms of a training step")
    for network in options.networks.split(","):
        times = measure(network, options.rounds)
        plain = times["fp32 contiguous"]
        figures = [f"{name} {seconds * 1000:.0f} ({plain / seconds:.2f})" for name, seconds in times.items()]
        print(f"{network}: {', '.join(figures)}", flush=True)


if __name__ == "__main__":
    main()
