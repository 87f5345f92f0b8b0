"""Pays the fixed costs of a first training step before a job arrives."""

import torch
from torch import nn

from worker.engine.device import build_placement, use_threads


def warm_up() -> None:
    """Run one tiny training step: it starts thread pools, loads kernels and imports lazy modules."""
    # with several GPUs it is not known yet which one the job uses, and a CUDA context takes memory
    placement = build_placement("cpu" if torch.cuda.device_count() > 1 else "auto")
    use_threads(placement.threads)
    network = placement.place_network(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2)))
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    with placement.autocast():
        scores = network(torch.zeros(4, 1, 8, 8, device=placement.device))
    targets = torch.zeros(4, dtype=torch.long, device=placement.device)
    nn.functional.cross_entropy(scores.float(), targets).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
