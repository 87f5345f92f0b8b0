"""A network with its preprocessing in one graph: uint8 pixels in, raw scores out. It knows no file format."""

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from models.preprocess import Preprocess
from models.registry import Shape
from models.variants.description import INPUT


class ExportableModel(nn.Module):
    """What an exported file holds, so that nobody has to prepare pictures before it."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        self.register_buffer("scale", preprocess.scale, persistent=False)
        self.register_buffer("shift", preprocess.shift, persistent=False)
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels, uint8 (B, H, W, C), to raw scores, float32 (B, num_outputs).

        The arithmetic is that of `Preprocess`, but in contiguous memory: other layouts become gathers when exported.
        """
        images = pixels.permute(0, 3, 1, 2).to(torch.float32).contiguous()
        scores: Tensor = self.network(images * self.scale + self.shift)
        return scores.float()


def exported(whole: ExportableModel, image_shape: Shape) -> ExportedProgram:
    """The graph of a network on the CPU and in eval mode, for batches of any size; pictures are (C, H, W)."""
    channels, height, width = image_shape
    example = torch.zeros(2, height, width, channels, dtype=torch.uint8)
    with torch.no_grad():
        program = export(whole.eval(), (example,), dynamic_shapes={INPUT: {0: Dim.DYNAMIC}})
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names files of this machine
    return program
