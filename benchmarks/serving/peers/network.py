"""Loads a bundle's network in plain torch for the peers, with torch's fastest options.

It requires only torch, numpy, Pillow and safetensors, so that every peer can import it. Axes: B batch, H height,
W width, C channels, K classes.
"""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

Images = np.ndarray | list[np.ndarray]


class Network:
    """Computes probabilities from images as every side does: fp32 or bf16 weights, channels_last, no autocast."""

    def __init__(self, folder: str, *, dtype: str, threads: int) -> None:
        """Load a bundle. `dtype` is fp32 or bf16; `threads` 0 keeps torch's default."""
        if threads:
            torch.set_num_threads(threads)
        metadata = json.loads((Path(folder) / "bundle.json").read_text())
        self.classes: list[str] = metadata["classes"]
        self.image_shape: tuple[int, int, int] = tuple(metadata["image_shape"])
        self.network = _build_convnet(metadata)
        self.network.load_state_dict(load_file(Path(folder) / "weights.safetensors"))
        self.dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
        self.network = self.network.eval().requires_grad_(False).to(self.dtype).to(memory_format=torch.channels_last)
        mean, std = (torch.tensor(metadata[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
        self.scale, self.shift = 1 / (255 * std), -mean / std
        for size in (1, 2, 32):
            self.compute_scores([np.zeros(self.pixel_shape, np.uint8)] * size)

    @property
    def pixel_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.image_shape
        return height, width, channels

    def prepare_images(self, images: Images) -> torch.Tensor:
        """Convert pixels, uint8 (B, H, W, C), to the input of the network, (B, C, H, W) in channels_last memory."""
        images = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        images = images.to(torch.float32, memory_format=torch.channels_last)
        return images.mul_(self.scale).add_(self.shift).to(self.dtype)

    def compute_scores(self, images: Images) -> np.ndarray:
        """Return raw scores, float32 (B, K), for pixels uint8 (B, H, W, C) or a list of images."""
        with torch.inference_mode():
            return self.network(self.prepare_images(images)).float().numpy()

    def compute_probabilities(self, images: Images) -> np.ndarray:
        """Return float32 (B, K). Every row sums to 1."""
        scores = self.compute_scores(images)
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def decode_image(self, body: bytes) -> np.ndarray:
        """Decode a PNG or JPEG of the network's input size to pixels, uint8 (H, W, C)."""
        with Image.open(io.BytesIO(body)) as image:
            pixels = np.asarray(image.convert("L" if self.image_shape[0] == 1 else "RGB"))
        return pixels.reshape(self.pixel_shape)

    def format_top_classes(self, probabilities: np.ndarray, count: int = 5) -> dict[str, Any]:
        """Return the most probable classes in the format of this service."""
        best = np.argsort(-probabilities)[:count].tolist()
        found = [{"label": self.classes[i], "index": i, "probability": float(probabilities[i])} for i in best]
        return {**found[0], "top_k": found}


def load_from_environment() -> Network:
    """Load the network that the environment variables select."""
    environ = os.environ
    return Network(environ["BENCH_BUNDLE"], dtype=environ["BENCH_DTYPE"], threads=int(environ["BENCH_THREADS"]))


class _Convnet(nn.Module):
    """Convolutions with pooling, global average pooling, and linear layers."""

    def __init__(self, channels: list[int], head: list[int], kernel: int, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        features: list[nn.Module] = []
        for number, out in enumerate(channels, start=1):
            features += [nn.Conv2d(num_inputs, out, kernel, padding=kernel // 2), nn.ReLU()]
            features += [nn.MaxPool2d(2)] if number < len(channels) else [nn.AdaptiveAvgPool2d(1)]
            num_inputs = out
        layers: list[nn.Module] = []
        for out in head:
            layers += [nn.Linear(num_inputs, out), nn.ReLU()]
            num_inputs = out
        self.features = nn.Sequential(*features)
        self.head = nn.Sequential(*layers, nn.Linear(num_inputs, num_outputs))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images).flatten(1))


def _build_convnet(metadata: dict[str, Any]) -> nn.Module:
    options = metadata["architecture"]["options"]
    num_inputs, num_outputs = metadata["image_shape"][0], metadata["num_outputs"]
    return _Convnet(options["channels"], options["head"], options.get("kernel", 3), num_inputs, num_outputs)
