"""Static int8 quantisation of an ONNX file, its ranges measured on pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.variants.description import INPUT, package

BATCH = 16
HEAVY = ("Conv", "Gemm", "MatMul")


def quantize(plain: Path, into: Path, images: NDArray[np.uint8]) -> None:
    """Write an int8 file from an fp32 one: weights by channel, activations by the range of `pictures`.

    What comes before the first heavy layer, the preprocessing, stays fp32: 256 steps of a picture's brightness would
    be rounded once more. Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", 2018.

    Args:
        plain: a file whose only input takes pixels.
        into: the new file.
        images: uint8 (N, H, W, C), N at least 1.
    """
    quantization = package("onnxruntime.quantization")
    shapes = package("onnxruntime.quantization.shape_inference")
    prepared = into.with_name(f"{into.stem}.prepared.onnx")
    shapes.quant_pre_process(plain, prepared)
    try:
        quantization.quantize_static(
            prepared,
            into,
            _reader(images),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=_preparing(prepared),
        )
    finally:
        prepared.unlink()


def _preparing(path: Path) -> list[str]:
    """The names of the nodes before the first heavy one; nodes are stored in the order of computing."""
    names: list[str] = []
    for node in package("onnx").load(path).graph.node:
        if node.op_type in HEAVY:
            break
        names.append(node.name)
    return names


def _reader(images: NDArray[np.uint8]) -> Any:  # noqa: ANN401 - of an untyped package
    batches = _batches(images)

    class Reader(package("onnxruntime.quantization").CalibrationDataReader):  # type: ignore[misc]  # no types
        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(batches, None)

    return Reader()


def _batches(images: NDArray[np.uint8]) -> Iterator[dict[str, NDArray[np.uint8]]]:
    for start in range(0, len(images), BATCH):
        yield {INPUT: np.ascontiguousarray(images[start : start + BATCH])}
