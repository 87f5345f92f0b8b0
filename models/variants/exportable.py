"""Exports a network and its preprocessing as one graph that maps uint8 pixels to raw scores."""

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from models.preprocess import Preprocess
from models.registry import Shape
from models.variants.description import INPUT


class ExportableModel(nn.Module):
    """A network with its preprocessing, as one module that can be exported."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        self.register_buffer("scale", preprocess.scale, persistent=False)
        self.register_buffer("shift", preprocess.shift, persistent=False)
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels, uint8 (B, H, W, C), to raw scores, float32 (B, num_outputs).

        The preprocessing computes the same values as `Preprocess`, but in contiguous memory, because exporters convert
        other memory formats to gather operations.
        """
        images = pixels.permute(0, 3, 1, 2).to(torch.float32).contiguous()
        scores: Tensor = self.network(images * self.scale + self.shift)
        return scores.float()


def export_program(exportable: ExportableModel, image_shape: Shape) -> ExportedProgram:
    """Export the graph for batches of any size, on the CPU and in eval mode. `image_shape` is (C, H, W)."""
    channels, height, width = image_shape
    example = torch.zeros(2, height, width, channels, dtype=torch.uint8)
    with torch.no_grad():
        program = export(exportable.eval(), (example,), dynamic_shapes={INPUT: {0: Dim.DYNAMIC}})
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # a stack trace contains file names of this machine
    return program
