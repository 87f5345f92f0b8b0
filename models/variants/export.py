"""From a network to a variant's files: the network in its new form, `bundle.json` and `variant.json`."""

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
    describe,
    package,
)
from models.variants.description import Precision as VariantPrecision
from models.variants.exportable import ExportableModel, exported
from models.variants.int8 import quantize

BATCH = "batch"


def write(
    folder: Path,
    network: nn.Module,
    description: bundle.Description,
    kind: Format,
    *,
    precision: VariantPrecision = "fp32",
    calibration: NDArray[np.uint8] | None = None,
) -> dict[str, bundle.FileFacts]:
    """Write a variant into an existing folder, durably.

    Args:
        folder: existing and empty.
        network: on the CPU, in eval mode; it is not changed.
        description: its bundle's.
        kind: which form.
        precision: what it computes in, where the form leaves that open; `int8` files are int8.
        calibration: pictures whose activations decide the ranges of int8, uint8 (N, H, W, C).

    Returns:
        The sha256 and the size in bytes of each file.

    Raises:
        MissingPackage: a package is not installed.
        ValueError: int8 without pictures, or the network reads no pictures.
    """
    if len(description.image_shape) != 3:
        raise ValueError(f"samples of {description.image_shape} are no pictures")
    if kind == "int8" and (calibration is None or not len(calibration)):
        raise ValueError("int8 needs pictures to calibrate with")
    words = describe(kind, "int8" if kind == "int8" else precision)
    with quiet():
        _write_network(folder, network, description, words, calibration)
    bundle.save_description(folder, description)
    (folder / DESCRIPTION).write_text(words.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return _facts(folder)


def _write_network(
    folder: Path,
    network: nn.Module,
    description: bundle.Description,
    words: VariantDescription,
    calibration: NDArray[np.uint8] | None,
) -> None:
    main = folder / DOWNLOADS[words.format]
    whole = ExportableModel(network, Preprocess(description.mean, description.std))
    match words.format:
        case "torch-compile":
            bundle.write_weights(main, network.network if isinstance(network, RescaledOutput) else network)
        case "torch-export":
            torch.export.save(exported(whole, description.image_shape), main)
        case "onnx":
            _write_onnx(main, whole, description, words)
        case "int8" | "openvino":
            plain = folder / "plain.onnx"
            _write_onnx(plain, whole, description, words)
            if words.format == "int8" and calibration is not None:
                quantize(plain, main, calibration)
            else:
                _convert_to_openvino(plain, main)
            plain.unlink()
        case _:
            assert_never(words.format)


def _write_onnx(path: Path, whole: ExportableModel, description: bundle.Description, words: VariantDescription) -> None:
    """One self-contained file: `pixels`, uint8 (batch, H, W, C), to `scores`, float32 (batch, num_outputs)."""
    onnx = package("onnx")
    program: Any = torch.onnx.export(
        exported(whole, description.image_shape), dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False
    )
    proto = program.model_proto
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    for part in (proto.graph, *proto.graph.node, *proto.graph.value_info):
        del part.metadata_props[:]  # for those who debug exporters, and a good part of the file
    said = {"task": description.task, "classes": "\n".join(description.classes), "format": words.format}
    onnx.helper.set_model_props(proto, said)
    onnx.save(proto, path)


def _convert_to_openvino(plain: Path, into: Path) -> None:
    openvino = package("openvino")
    openvino.save_model(openvino.Core().read_model(plain), into, compress_to_fp16=False)


def _facts(folder: Path) -> dict[str, bundle.FileFacts]:
    found: dict[str, bundle.FileFacts] = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        found[path.name] = (bundle.sha256_of(path), path.stat().st_size)
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters print, log and warn of what only their authors can mend."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
