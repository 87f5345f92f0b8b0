"""Quantizes an ONNX file to int8 (static quantization with calibration images)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.variants.description import INPUT, WeightBits, import_package

BATCH = 16
HEAVY = ("Conv", "Gemm", "MatMul")


def quantize(plain: Path, into: Path, images: NDArray[np.uint8], weight_bits: WeightBits = 8) -> None:
    """Quantize the weights of an fp32 file per channel, and the activations with ranges measured on `images`.

    The preprocessing (all nodes before the first convolution or matrix product) remains fp32. Pixels already have only
    256 levels, so quantizing the preprocessed pixels again would lose precision.

    Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", 2018.

    Args:
        plain: the fp32 ONNX file, with pixels as its only input.
        into: the path of the new file.
        images: uint8 (N, H, W, C), N at least 1.
        weight_bits: 7 limits the weights to -64..64, so that the sum of two products with 8-bit activations is at most
            2 * 255 * 64 = 32640 and never saturates 16 bits. 8 uses -127..127.
    """
    quantization = import_package("onnxruntime.quantization")
    shapes = import_package("onnxruntime.quantization.shape_inference")
    prepared = into.with_name(f"{into.stem}.prepared.onnx")
    shapes.quant_pre_process(plain, prepared)
    try:
        quantization.quantize_static(
            prepared,
            into,
            _create_calibration_reader(images),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=weight_bits == 7,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=_list_preprocessing_nodes(prepared),
        )
    finally:
        prepared.unlink()


def _list_preprocessing_nodes(path: Path) -> list[str]:
    """Return the names of all nodes that run before the first node of a type in HEAVY."""
    names: list[str] = []
    for node in import_package("onnx").load(path).graph.node:
        if node.op_type in HEAVY:
            break
        names.append(node.name)
    return names


def _create_calibration_reader(images: NDArray[np.uint8]) -> Any:  # noqa: ANN401 - the package has no type hints
    batches = _iterate_batches(images)

    class Reader(import_package("onnxruntime.quantization").CalibrationDataReader):  # type: ignore[misc]  # no types
        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(batches, None)

    return Reader()


def _iterate_batches(images: NDArray[np.uint8]) -> Iterator[dict[str, NDArray[np.uint8]]]:
    for start in range(0, len(images), BATCH):
        yield {INPUT: np.ascontiguousarray(images[start : start + BATCH])}
