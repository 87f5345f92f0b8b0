"""int8 variants keep their accuracy on processors whose sums of 8-bit products saturate."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models import registry, variants
from models.variants.runners import OnnxRuntimeRunner
from models.variants.saturation import has_saturating_sums, read_with_unsigned_weights
from tests.support.bundles import build_description

QEMU = shutil.which("qemu-x86_64")
LARGEST_INT16 = 2**15 - 1


def multiply(activations: NDArray[np.uint8], weights: NDArray[np.int8]) -> int:
    """Return the scalar product as `vpmaddubsw` computes it: sums of two products are clipped to 16 bits."""
    products = activations.astype(np.int64) * weights.astype(np.int64)
    return int(products.reshape(-1, 2).sum(axis=1).clip(-(2**15), LARGEST_INT16).sum())


def write_int8(folder: Path, pixels: NDArray[np.uint8]) -> variants.VariantDescription:
    torch.manual_seed(0)
    description = build_description(image_shape=(3, 12, 10), mean=[0.4, 0.5, 0.6], std=[0.2, 0.2, 0.3])
    options = description.architecture.options
    network = registry.build_network(description.architecture.name, options, (3, 12, 10), description.num_outputs)
    variants.write_variant(folder, network.eval(), description, "int8", calibration=pixels)
    return variants.VariantDescription.model_validate_json((folder / variants.DESCRIPTION).read_bytes())


def read_weights(folder: Path) -> list[NDArray[np.int8]]:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(folder / "network.onnx").graph
    tensors = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer]
    return [tensor for tensor in tensors if tensor.dtype == np.int8 and tensor.ndim > 1]


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (9, 12, 10, 3), dtype=np.uint8)


@pytest.mark.parametrize(("saturates", "bits", "largest"), [(True, 7, 64), (False, 8, 127)])
def test_weights_have_seven_bits_where_sums_saturate(
    *,
    saturates: bool,
    bits: int,
    largest: int,
    tmp_path: Path,
    pixels: NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("models.variants.export.has_saturating_sums", lambda: saturates)
    assert write_int8(tmp_path, pixels).weight_bits == bits
    weights = read_weights(tmp_path)
    assert weights
    assert max(int(np.abs(tensor.astype(int)).max()) for tensor in weights) == largest


@given(st.integers(0, 2**32 - 1))
def test_sums_of_seven_bit_weights_never_saturate(seed: int) -> None:
    rng = np.random.default_rng(seed)
    activations = rng.choice([0, 128, 254, 255], 64).astype(np.uint8)
    weights = rng.choice([-64, -63, 0, 63, 64], 64).astype(np.int8)
    assert multiply(activations, weights) == int(activations.astype(int) @ weights.astype(int))
    assert multiply(np.full(2, 255, np.uint8), np.full(2, 127, np.int8)) == LARGEST_INT16 < 2 * 255 * 127


@pytest.mark.parametrize(("bits", "is_converted"), [(None, True), (8, True), (7, False)])
def test_eight_bit_weights_are_converted_where_sums_saturate(
    tmp_path: Path, pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, bits: int | None, *, is_converted: bool
) -> None:
    variant = write_int8(tmp_path, pixels).model_copy(update={"weight_bits": bits})
    (tmp_path / variants.DESCRIPTION).write_text(variant.model_dump_json(exclude_none=True))  # None: an old variant
    read_paths: list[Path] = []

    def read(path: Path) -> bytes:
        read_paths.append(path)
        return read_with_unsigned_weights(path)

    monkeypatch.setattr("models.variants.runners.has_saturating_sums", lambda: True)
    monkeypatch.setattr("models.variants.runners.read_with_unsigned_weights", read)
    variants.open_runner(tmp_path, threads=1)
    assert bool(read_paths) == is_converted


def test_unsigned_weights_give_the_same_scores(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    onnx = pytest.importorskip("onnx")
    write_int8(tmp_path, pixels)
    content = read_with_unsigned_weights(tmp_path / "network.onnx")
    assert not [tensor for tensor in onnx.load_from_string(content).graph.initializer if tensor.data_type == 3]  # int8
    signed, unsigned = (OnnxRuntimeRunner(model, 1)(pixels) for model in (tmp_path / "network.onnx", content))
    np.testing.assert_allclose(unsigned, signed, atol=1e-5 if not has_saturating_sums() else 0.1)


@pytest.mark.slow
@pytest.mark.skipif(QEMU is None, reason="requires qemu-user, which emulates a processor without VNNI")
def test_saturation_is_detected_on_a_processor_without_vnni() -> None:
    program = "from models.variants.saturation import has_saturating_sums; print(has_saturating_sums())"
    command = [str(QEMU), "-cpu", "Haswell", sys.executable, "-c", program]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_saturation_is_not_reported_with_vnni() -> None:
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    if "avx512_vnni" not in flags and "avx_vnni" not in flags:
        pytest.skip("requires a processor with VNNI")
    assert not has_saturating_sums()
