"""A bundle's network as one would write it beside a server that is not ours: plain torch, as quick as torch has it.

It needs torch, numpy, Pillow and safetensors alone, so that every peer can import it. Axes: B batch, H height,
W width, C channels.
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
    """Pictures to probabilities, as every side does it: bf16 weights where asked, channels_last, no autocast."""

    def __init__(self, folder: str, *, dtype: str, threads: int) -> None:
        """Load a bundle's folder; `dtype` is fp32 or bf16, `threads` 0 leaves torch's own choice."""
        if threads:
            torch.set_num_threads(threads)
        words = json.loads((Path(folder) / "bundle.json").read_text())
        self.classes: list[str] = words["classes"]
        self.image_shape: tuple[int, int, int] = tuple(words["image_shape"])
        self.network = _convnet(words)
        self.network.load_state_dict(load_file(Path(folder) / "weights.safetensors"))
        self.dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
        self.network = self.network.eval().requires_grad_(False).to(self.dtype).to(memory_format=torch.channels_last)
        mean, std = (torch.tensor(words[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
        self.scale, self.shift = 1 / (255 * std), -mean / std
        for size in (1, 2, 32):
            self.scores([np.zeros(self.picture_shape, np.uint8)] * size)

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.image_shape
        return height, width, channels

    def prepared(self, pictures: Images) -> torch.Tensor:
        """Pixels, uint8 (B, H, W, C), as the network takes them: (B, C, H, W) in channels_last memory."""
        images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        images = images.to(torch.float32, memory_format=torch.channels_last)
        return images.mul_(self.scale).add_(self.shift).to(self.dtype)

    def scores(self, images: Images) -> np.ndarray:
        """Raw scores, float32 (B, K), of pixels uint8 (B, H, W, C) or a list of such pictures."""
        with torch.inference_mode():
            return self.network(self.prepared(images)).float().numpy()

    def probabilities(self, images: Images) -> np.ndarray:
        """Float32 (B, K); every row sums to 1."""
        scores = self.scores(images)
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def decoded(self, body: bytes) -> np.ndarray:
        """A PNG or JPEG of the network's own size as pixels, uint8 (H, W, C)."""
        with Image.open(io.BytesIO(body)) as picture:
            pixels = np.asarray(picture.convert("L" if self.image_shape[0] == 1 else "RGB"))
        return pixels.reshape(self.picture_shape)

    def top(self, probabilities: np.ndarray, count: int = 5) -> dict[str, Any]:
        """What this service answers too: the most probable classes, the first first."""
        best = np.argsort(-probabilities)[:count].tolist()
        found = [{"label": self.classes[i], "index": i, "probability": float(probabilities[i])} for i in best]
        return {**found[0], "top_k": found}


def from_environment() -> Network:
    """The network that the benchmark's variables name."""
    environ = os.environ
    return Network(environ["BENCH_BUNDLE"], dtype=environ["BENCH_DTYPE"], threads=int(environ["BENCH_THREADS"]))


class _Convnet(nn.Module):
    """Convolutions that halve the picture all but once, a mean a feature map, linear layers."""

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


def _convnet(words: dict[str, Any]) -> nn.Module:
    options = words["architecture"]["options"]
    num_inputs, num_outputs = words["image_shape"][0], words["num_outputs"]
    return _Convnet(options["channels"], options["head"], options.get("kernel", 3), num_inputs, num_outputs)
