"""Runs a small training step before a job arrives, so that the first step of the job is fast."""

from typing import Literal

import torch
from torch import nn

from worker.engine.device import build_placement, use_threads


def warm_up(threads: int | Literal["auto"] = "auto") -> None:
    """Run a small training step, so that torch starts its thread pools, loads kernels and imports its lazy modules."""
    # With several GPUs, use the CPU: the job's GPU is not known yet, and CUDA contexts on other GPUs waste memory
    placement = build_placement("cpu" if torch.cuda.device_count() > 1 else "auto", threads=threads)
    use_threads(placement.threads)
    network = placement.place_network(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2)))
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    with placement.autocast():
        scores = network(torch.zeros(4, 1, 8, 8, device=placement.device))
    targets = torch.zeros(4, dtype=torch.long, device=placement.device)
    nn.functional.cross_entropy(scores.float(), targets).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
