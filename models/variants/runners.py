"""Runs variants, with one class per runtime. The runners map pixels to raw scores."""

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
from models.variants.description import DESCRIPTION, DOWNLOADS, INPUT, VariantDescription, import_package
from models.variants.saturation import has_saturating_sums, read_with_unsigned_weights

Runner = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Maps pixels, uint8 (B, H, W, C), to raw scores, float32 (B, num_outputs); not thread-safe."""


class EagerRunner:
    """Runs a torch network in channels_last memory."""

    def __init__(self, network: nn.Module, description: bundle.BundleDescription, *, use_bf16: bool = False) -> None:
        self._network = network.eval().to(memory_format=torch.channels_last)
        self._preprocess = Preprocess(description.mean, description.std)
        self._use_bf16 = use_bf16

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._use_bf16):
            scores = self._network(self._preprocess(torch.from_numpy(pixels)))
        raw: NDArray[np.float32] = scores.float().numpy()
        return raw


class OnnxRuntimeRunner:
    """Runs an ONNX file with onnxruntime on the CPU."""

    def __init__(self, model: Path | bytes, threads: int) -> None:
        """Load a file or its content. `threads` is the number of threads; 0 for one thread per core."""
        runtime = import_package("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        # A thread that waits for work in a loop takes the processor from the processes that read the requests.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # log only errors; at lower levels, every folded constant is logged
        self._session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self._session.run(None, {INPUT: pixels})[0]
        return scores


class OpenVinoRunner:
    """Runs an OpenVINO model on the CPU."""

    def __init__(self, path: Path, threads: int, *, use_bf16: bool) -> None:
        """Load the model. `threads` is the number of threads; 0 for one thread per core."""
        properties: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if use_bf16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads:
            properties["INFERENCE_NUM_THREADS"] = threads
        compiled = import_package("openvino").Core().compile_model(path, "CPU", properties)
        self._request = compiled.create_infer_request()

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        outputs = self._request.infer({0: np.ascontiguousarray(pixels)}, share_inputs=True)
        return np.array(outputs[0], dtype=np.float32)  # a copy, because the next request overwrites the buffer


class ExportedProgramRunner:
    """Runs a program of `torch.export`. The service uses it to verify exported files, not for predictions."""

    def __init__(self, path: Path) -> None:
        self._module = torch.export.load(path).module()

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            scores: NDArray[np.float32] = self._module(torch.from_numpy(pixels)).numpy()
        return scores


def create_eager_runner(network: nn.Module, description: bundle.BundleDescription) -> Runner:
    """Create a runner of the trained network in fp32, whose scores are the reference for variants."""
    return EagerRunner(network, description)


def open_runner(folder: Path, *, threads: int = 0, compiler: str = "inductor") -> Runner:
    """Load the variant in a folder. A `torch-compile` variant is compiled when it is called for the first time.

    Args:
        folder: a folder that `write_variant` has written.
        threads: number of threads for ONNX Runtime or OpenVINO; 0 for one thread per core.
        compiler: backend of `torch.compile`.

    Raises:
        BadBundle: a file is missing or damaged.
        MissingPackage: the runtime of the variant is not installed.
    """
    try:
        variant = VariantDescription.model_validate_json((folder / DESCRIPTION).read_bytes())
    except (OSError, ValidationError) as error:
        raise bundle.BadBundle(f"{folder.name} is not a valid variant: {error}") from error
    path = folder / DOWNLOADS[variant.format]
    if not path.is_file():
        raise bundle.BadBundle(f"{folder.name} lacks the file {path.name}")
    match variant.format:
        case "onnx":
            return OnnxRuntimeRunner(path, threads)
        case "int8":
            is_exact = variant.weight_bits == 7 or not has_saturating_sums()
            return OnnxRuntimeRunner(path if is_exact else read_with_unsigned_weights(path), threads)
        case "openvino":
            return OpenVinoRunner(path, threads, use_bf16=variant.precision == "bf16")
        case "torch-compile":
            return _compile_network(folder, compiler, use_bf16=variant.precision == "bf16")
        case "torch-export":
            return ExportedProgramRunner(path)
        case _:
            assert_never(variant.format)


def _compile_network(folder: Path, compiler: str, *, use_bf16: bool) -> Runner:
    import torch._inductor.config as inductor

    network, description = bundle.load_bundle(folder)
    inductor.compile_threads = 1  # otherwise torch starts compiler processes that outlive this process
    compiled: Any = torch.compile(network, dynamic=True, backend=compiler)
    return EagerRunner(compiled, description, use_bf16=use_bf16)
