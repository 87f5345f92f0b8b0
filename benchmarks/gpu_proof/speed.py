"""Measures training and serving on the device against plain torch code, both sides in turn in the same run."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from app.inference.predictor import Predictor
from benchmarks.gpu_proof.setting import ProofSetting, summarize, summarize_ratios
from models import bundle
from worker.builders import build_run
from worker.builders.bundle_metadata import build_description
from worker.engine.device import Placement, Precision
from worker.engine.state import RunState

ROUNDS = 5


def measure_training(setting: ProofSetting) -> dict[str, Any]:
    """Measure an epoch of the engine, of the raw step, and of a plain fp32 loop with copies from the host."""
    sides: dict[str, Callable[[], Any]] = {}
    for precision in setting.precisions:
        sides[f"engine {precision}"] = _build_engine(setting, precision)
        sides[f"raw step {precision}"] = _build_raw_step(setting, precision, channels_last=True)
    sides["engine bf16 compiled"] = _build_engine(setting, "bf16", is_compiled=True)
    sides["plain loop fp32"] = _build_plain_loop(setting)
    taken = setting.compare(sides, rounds=2 if setting.is_tiny else ROUNDS)
    num_images = count_trained_images(setting)
    pairs = [(f"engine {precision}", f"raw step {precision}") for precision in setting.precisions]
    pairs += [("engine bf16", "plain loop fp32"), ("engine bf16 compiled", "engine bf16")]
    return {
        "images_per_s": {name: summarize([num_images / each for each in values], 1) for name, values in taken.items()},
        "ratios": {f"{side} over {base}": summarize_ratios(taken, side, base) for side, base in pairs},
    }


def count_trained_images(setting: ProofSetting) -> int:
    """Return the number of images in an epoch: those that are not held out for validation, in whole batches."""
    run = build_run(setting.build_spec(), setting.packed, setting.build_placement())
    return run.state.steps_per_epoch * setting.build_spec().batch_size


def _build_engine(setting: ProofSetting, precision: Precision, *, is_compiled: bool = False) -> Callable[[], None]:
    """Build one epoch of a job with the service's defaults, without validation."""
    run = build_run(setting.build_spec(compile=is_compiled), setting.packed, setting.build_placement(precision))
    run = replace(run, valid_batches=None, test_batches=None)
    num_steps, epochs = run.state.steps_per_epoch, iter(range(1, 10**6))

    def run_epoch() -> None:
        number = next(epochs)
        state = RunState(number, num_steps, epoch=number - 1, step=(number - 1) * num_steps)
        replace(run, state=state).build_loop().fit(state)

    return run_epoch


def _build_raw_step(setting: ProofSetting, precision: Precision, *, channels_last: bool) -> Callable[[], None]:
    """Build as many steps as an epoch has, on one batch that is on the device already."""
    placement = setting.build_placement(precision, channels_last=channels_last)
    run = build_run(setting.build_spec(), setting.packed, placement)
    network, optimizer, scaler = run.network, run.optimizer, placement.build_grad_scaler()
    images, targets = _build_batch(setting, placement)
    loss = nn.CrossEntropyLoss()

    def run_steps() -> None:
        network.train()
        for _ in range(run.state.steps_per_epoch):
            with placement.autocast():
                scores = network(images)
            optimizer.zero_grad()
            value = loss(scores.float(), targets)
            if scaler is None:
                value.backward()
                optimizer.step()
            else:
                scaler.scale(value).backward()
                scaler.step(optimizer)
                scaler.update()

    return run_steps


def _build_batch(setting: ProofSetting, placement: Placement) -> tuple[Tensor, Tensor]:
    size = setting.build_spec().batch_size
    images = torch.randn(size, 3, setting.image_size, setting.image_size, device=setting.device)
    memory_format = torch.channels_last if placement.channels_last else torch.contiguous_format
    return images.to(memory_format=memory_format), torch.randint(0, 10, (size,), device=setting.device)


def _build_plain_loop(setting: ProofSetting) -> Callable[[], None]:
    """Build a loop as in a tutorial: fp32, contiguous, batches copied from the host, `.item()` at each step."""
    placement = setting.build_placement("fp32", channels_last=False)
    run = build_run(setting.build_spec(), setting.packed, placement)
    network, optimizer, loss = run.network, run.optimizer, nn.CrossEntropyLoss()
    split, index = setting.packed.read_split("train"), run.train_batches.sample_index
    images, targets = torch.from_numpy(np.array(split.images[index])), torch.from_numpy(np.array(split.targets[index]))
    size = setting.build_spec().batch_size

    def run_epoch() -> None:
        network.train()
        order = torch.randperm(len(images))
        for rows in order.split(size)[: run.state.steps_per_epoch]:
            batch = images[rows].permute(0, 3, 1, 2).float().div(255).sub(0.5).div(0.25).to(setting.device)
            value = loss(network(batch), targets[rows].to(setting.device))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            value.item()

    return run_epoch


def measure_serving(setting: ProofSetting) -> dict[str, Any]:
    """Measure batches and single images through the predictor, against the raw forward pass and a CUDA graph."""
    run = build_run(setting.build_spec(), setting.packed, setting.build_placement())
    description = build_description(setting.build_spec(), setting.packed.meta, "proof", {})
    folder = setting.folder / "bundle"
    folder.mkdir()
    bundle.save_bundle(folder, run.network, description)
    results: dict[str, Any] = {}
    for precision in ("fp32", "bf16"):
        predictor = Predictor.load(folder, device=str(setting.device))
        predictor.choose_precision(precision)
        results[precision] = _measure_predictor(setting, predictor, precision)
    return results


def _measure_predictor(setting: ProofSetting, predictor: Predictor, precision: Precision) -> dict[str, Any]:
    batch_size = 8 if setting.is_tiny else 256
    images = list(setting.draw_images(batch_size))
    placement = setting.build_placement(precision)
    raw = _build_raw_forward(setting, placement, batch_size)
    batches = setting.compare({"predictor": lambda: predictor(images), "raw": raw}, rounds=ROUNDS)
    single: dict[str, Callable[[], Any]] = {"predictor": lambda: predictor(images[:1])}
    single["raw"] = _build_raw_forward(setting, placement, 1)
    if setting.device.type == "cuda":
        single["cuda graph"] = _build_graph(setting, placement)
    times = setting.compare(single, rounds=20)
    return {
        "images_per_s": {name: summarize([batch_size / each for each in taken], 1) for name, taken in batches.items()},
        "share_of_raw": summarize_ratios(batches, "predictor", "raw"),
        "single_image_ms": {name: summarize([1000 * each for each in taken]) for name, taken in times.items()},
    }


def _build_raw_forward(setting: ProofSetting, placement: Placement, batch_size: int) -> Callable[[], Any]:
    network = build_run(setting.build_spec(), setting.packed, placement).network.eval()
    images, _ = _build_batch(setting, placement)
    images = images[:batch_size]
    if len(images) < batch_size:
        images = images.repeat(-(-batch_size // len(images)), 1, 1, 1)[:batch_size]

    def run_forward() -> None:
        with torch.inference_mode(), placement.autocast():
            network(images).float().cpu()

    return run_forward


def _build_graph(setting: ProofSetting, placement: Placement) -> Callable[[], Any]:
    """Capture the forward pass of one image in a CUDA graph. The result is copied to the host after each replay."""
    network = build_run(setting.build_spec(), setting.packed, placement).network.eval()
    images = _build_batch(setting, placement)[0][:1].clone()
    stream = torch.cuda.Stream()
    with torch.inference_mode(), placement.autocast():
        with torch.cuda.stream(stream):
            for _ in range(3):
                network(images)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            scores = network(images)

    def replay() -> None:
        graph.replay()
        scores.float().cpu()

    return replay
