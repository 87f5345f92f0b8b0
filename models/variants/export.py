"""Writes the files of a variant: the exported network, `bundle.json` and `variant.json`."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models import bundle
from models.preprocess import Preprocess, RescaledOutput
from models.variants.description import (
    DESCRIPTION,
    DOWNLOADS,
    INPUT,
    OUTPUT,
    Format,
    VariantDescription,
    describe_variant,
    import_package,
)
from models.variants.description import Precision as VariantPrecision
from models.variants.exportable import ExportableModel, export_program
from models.variants.int8 import quantize
from models.variants.saturation import has_saturating_sums

BATCH = "batch"


def write_variant(
    folder: Path,
    network: nn.Module,
    description: bundle.BundleDescription,
    kind: Format,
    *,
    precision: VariantPrecision = "fp32",
    calibration: NDArray[np.uint8] | None = None,
) -> dict[str, bundle.FileDigest]:
    """Write a variant into an existing folder and fsync it.

    Args:
        folder: an existing, empty folder.
        network: the network, on the CPU and in eval mode. It is not modified.
        description: the description of the network's bundle.
        kind: the format of the variant.
        precision: the floating-point precision; ignored for `int8`.
        calibration: images that determine the activation ranges of `int8`, uint8 (N, H, W, C).

    Returns:
        The sha256 and the size in bytes of each file.

    Raises:
        MissingPackage: a package that the format requires is not installed.
        ValueError: calibration images for `int8` are missing, or the inputs of the network are not images.
    """
    if len(description.image_shape) != 3:
        raise ValueError(f"variants require images, but samples have the shape {description.image_shape}")
    if kind == "int8" and (calibration is None or not len(calibration)):
        raise ValueError("int8 requires calibration images, but there are none")
    if kind == "int8":
        variant = describe_variant(kind, "int8", 7 if has_saturating_sums() else 8)
    else:
        variant = describe_variant(kind, precision)
    with suppress_output():
        _write_network(folder, network, description, variant, calibration)
    bundle.save_description(folder, description)
    (folder / DESCRIPTION).write_text(variant.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return _hash_files(folder)


def _write_network(
    folder: Path,
    network: nn.Module,
    description: bundle.BundleDescription,
    variant: VariantDescription,
    calibration: NDArray[np.uint8] | None,
) -> None:
    main = folder / DOWNLOADS[variant.format]
    exportable = ExportableModel(network, Preprocess(description.mean, description.std))
    match variant.format:
        case "torch-compile":
            bundle.write_weights(main, network.network if isinstance(network, RescaledOutput) else network)
        case "torch-export":
            torch.export.save(export_program(exportable, description.image_shape), main)
        case "onnx":
            _write_onnx(main, exportable, description, variant)
        case "int8" | "openvino":
            plain = folder / "plain.onnx"
            _write_onnx(plain, exportable, description, variant)
            if variant.format == "int8" and calibration is not None:
                quantize(plain, main, calibration, variant.weight_bits or 8)
            else:
                _convert_to_openvino(plain, main)
            plain.unlink()
        case _:
            assert_never(variant.format)


def _write_onnx(
    path: Path, exportable: ExportableModel, description: bundle.BundleDescription, variant: VariantDescription
) -> None:
    """Write an ONNX file with the input `pixels`, uint8 (batch, H, W, C), and the output `scores`."""
    onnx = import_package("onnx")
    program: Any = torch.onnx.export(
        export_program(exportable, description.image_shape),
        dynamo=True,
        input_names=[INPUT],
        output_names=[OUTPUT],
        verbose=False,
    )
    proto = program.model_proto
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    for part in (proto.graph, *proto.graph.node, *proto.graph.value_info):
        del part.metadata_props[:]  # remove the exporter's debugging data, which makes the file larger
    metadata = {"task": description.task, "classes": "\n".join(description.classes), "format": variant.format}
    onnx.helper.set_model_props(proto, metadata)
    onnx.save(proto, path)


def _convert_to_openvino(plain: Path, into: Path) -> None:
    openvino = import_package("openvino")
    openvino.save_model(openvino.Core().read_model(plain), into, compress_to_fp16=False)


def _hash_files(folder: Path) -> dict[str, bundle.FileDigest]:
    digests: dict[str, bundle.FileDigest] = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        digests[path.name] = (bundle.compute_sha256(path), path.stat().st_size)
    return digests


@contextlib.contextmanager
def suppress_output() -> Iterator[None]:
    """Suppress the output, logs and warnings of exporters, which do not help users."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
