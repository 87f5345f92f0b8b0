"""A variant's files as something that answers: pixels in, raw scores out. One class a runtime; it knows no queue."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn

from models import bundle
from models.preprocess import Preprocess
from models.variants.description import DESCRIPTION, DOWNLOADS, INPUT, VariantDescription, package

Runner = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Maps pixels, uint8 (B, H, W, C), to raw scores, float32 (B, num_outputs); one thread at a time."""


class Eager:
    """The network itself, in channels_last memory."""

    def __init__(self, network: nn.Module, description: bundle.Description, *, use_bf16: bool = False) -> None:
        self._network = network.eval().to(memory_format=torch.channels_last)
        self._preprocess = Preprocess(description.mean, description.std)
        self._use_bf16 = use_bf16

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._use_bf16):
            scores = self._network(self._preprocess(torch.from_numpy(pixels)))
        raw: NDArray[np.float32] = scores.float().numpy()
        return raw


class OnnxRuntime:
    """An ONNX file, computed by onnxruntime on the CPU."""

    def __init__(self, path: Path, threads: int) -> None:
        """`threads`: 0 for one a core."""
        runtime = package("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors; else it tells of every constant that it folds
        self._session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self._session.run(None, {INPUT: pixels})[0]
        return scores


class OpenVino:
    """OpenVINO's own form, computed on the CPU."""

    def __init__(self, path: Path, threads: int, *, use_bf16: bool) -> None:
        """`threads`: 0 for one a core."""
        properties: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if use_bf16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads:
            properties["INFERENCE_NUM_THREADS"] = threads
        compiled = package("openvino").Core().compile_model(path, "CPU", properties)
        self._request = compiled.create_infer_request()

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = self._request.infer({0: np.ascontiguousarray(pixels)}, share_inputs=True)
        return np.array(found[0], dtype=np.float32)  # a copy: the request writes into the same memory next time


class Exported:
    """A program of torch.export. It is run to be checked, not to be served."""

    def __init__(self, path: Path) -> None:
        self._module = torch.export.load(path).module()

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            scores: NDArray[np.float32] = self._module(torch.from_numpy(pixels)).numpy()
        return scores


def eager(network: nn.Module, description: bundle.Description) -> Runner:
    """The network as it was trained, in fp32: what variants are held against."""
    return Eager(network, description)


def open_runner(folder: Path, *, threads: int = 0, compiler: str = "inductor") -> Runner:
    """What a variant's folder holds; a compiled one is compiled by its first call.

    Args:
        folder: as `write` left it.
        threads: of the runtimes that have threads of their own; 0 for one a core.
        compiler: torch's backend for `torch-compile`.

    Raises:
        BadBundle: a file is missing or damaged.
        MissingPackage: its runtime is not installed here.
    """
    try:
        words = VariantDescription.model_validate_json((folder / DESCRIPTION).read_bytes())
    except (OSError, ValidationError) as error:
        raise bundle.BadBundle(f"{folder.name} is no variant: {error}") from error
    path = folder / DOWNLOADS[words.format]
    if not path.is_file():
        raise bundle.BadBundle(f"{folder.name} has no {path.name}")
    match words.format:
        case "onnx" | "int8":
            return OnnxRuntime(path, threads)
        case "openvino":
            return OpenVino(path, threads, use_bf16=words.precision == "bf16")
        case "torch-compile":
            return _compiled(folder, compiler, use_bf16=words.precision == "bf16")
        case "torch-export":
            return Exported(path)
        case _:
            assert_never(words.format)


def _compiled(folder: Path, compiler: str, *, use_bf16: bool) -> Runner:
    import torch._inductor.config as inductor

    network, description = bundle.load(folder)
    inductor.compile_threads = 1  # else it starts a pool of processes that outlive us
    compiled: Any = torch.compile(network, dynamic=True, backend=compiler)
    return Eager(compiled, description, use_bf16=use_bf16)
