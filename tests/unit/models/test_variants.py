"""Variants return the scores of their network; errors of invalid ones."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models import bundle, registry, variants
from models.variants.exportable import ExportableModel
from models.variants.runners import OnnxRuntimeRunner, Runner
from tests.support.bundles import build_description as describe_bundle

TOLERANCE: dict[variants.Format, float] = {
    "onnx": 1e-4,  # another order of additions
    "openvino": 1e-4,
    "torch-compile": 1e-4,
    "torch-export": 1e-4,
    "int8": 0.1,  # 256 steps an activation
}
COLOUR = {"image_shape": (3, 12, 10), "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.0, 0.3]}


@pytest.fixture(scope="module")
def description() -> bundle.BundleDescription:
    return describe_bundle(**COLOUR)


@pytest.fixture(scope="module")
def network(description: bundle.BundleDescription) -> torch.nn.Module:
    torch.manual_seed(0)
    options = description.architecture.options
    network = registry.build_network(
        description.architecture.name, options, description.image_shape, description.num_outputs
    )
    for module in network.modules():  # statistics as after a training, so that batch norm does something
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean = torch.rand(module.num_features)
            module.running_var = 0.5 + torch.rand(module.num_features)
    return network.eval()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (9, 12, 10, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=variants.FORMATS)
def made(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    description: bundle.BundleDescription,
    network: torch.nn.Module,
    pixels: np.ndarray,
) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    variants.write_variant(folder, network, description, request.param, calibration=pixels)
    return folder


def kind_of(folder: Path) -> variants.Format:
    kind: variants.Format = json.loads((folder / variants.DESCRIPTION).read_text())["format"]
    return kind


def opened(folder: Path) -> Runner:
    return variants.open_runner(folder, threads=1, compiler="eager")


def test_variant_returns_the_networks_scores_for_every_batch_size(
    made: Path, network: torch.nn.Module, description: bundle.BundleDescription, pixels: np.ndarray
) -> None:
    run = opened(made)
    expected = variants.create_eager_runner(network, description)(pixels)
    for size in (9, 1, 4):
        scores = run(pixels[:size])
        assert scores.dtype == np.float32
        assert scores.shape == (size, description.num_outputs)
        np.testing.assert_allclose(scores, expected[:size], atol=TOLERANCE[kind_of(made)])


def test_results_do_not_change_after_later_calls(made: Path, pixels: np.ndarray) -> None:
    run = opened(made)
    first = run(pixels[:2])
    kept = first.copy()
    run(255 - pixels[:2])
    np.testing.assert_array_equal(first, kept)


def test_variant_describes_itself_without_local_paths(made: Path, description: bundle.BundleDescription) -> None:
    assert bundle.BundleDescription.model_validate_json((made / bundle.DESCRIPTION).read_bytes()) == description
    variant = variants.VariantDescription.model_validate_json((made / variants.DESCRIPTION).read_bytes())
    assert variant.precision == ("int8" if variant.format == "int8" else "fp32")
    assert variant.made_with
    root = str(Path(__file__).parents[3]).encode()
    assert not [path.name for path in made.iterdir() if root in path.read_bytes()]


def test_digests_match_the_files(
    tmp_path: Path, network: torch.nn.Module, description: bundle.BundleDescription
) -> None:
    digests = variants.write_variant(tmp_path, network, description, "torch-compile")
    assert set(digests) == {"weights.safetensors", "bundle.json", "variant.json"}
    for name, (sha256, size) in digests.items():
        assert sha256 == bundle.compute_sha256(tmp_path / name)
        assert size == (tmp_path / name).stat().st_size


def test_int8_quantizes_weights_but_not_preprocessing(made: Path) -> None:
    if kind_of(made) != "int8":
        pytest.skip("another form")
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(made / "network.onnx").graph
    types = {tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4 and tensor.dims[2] == 3}
    assert types == {onnx.TensorProto.INT8}
    first = next(place for place, node in enumerate(graph.node) if node.op_type == "QuantizeLinear")
    assert {"Cast", "Mul", "Add"} <= {node.op_type for node in graph.node[:first]}


def test_exported_graph_preprocesses_like_training(
    network: torch.nn.Module, description: bundle.BundleDescription
) -> None:
    from models.preprocess import Preprocess

    pixels = torch.randint(0, 256, (2, 12, 10, 3), dtype=torch.uint8)
    preprocess = Preprocess(description.mean, description.std)
    whole = ExportableModel(torch.nn.Identity(), preprocess)
    torch.testing.assert_close(whole(pixels), preprocess(pixels), rtol=0, atol=1e-6)


def test_int8_requires_images(tmp_path: Path, network: torch.nn.Module, description: bundle.BundleDescription) -> None:
    with pytest.raises(ValueError, match="calibration images"):
        variants.write_variant(tmp_path, network, description, "int8")


def test_folder_without_variant_raises_bad_bundle(tmp_path: Path) -> None:
    with pytest.raises(bundle.BadBundle, match="not a valid variant"):
        variants.open_runner(tmp_path)
    (tmp_path / variants.DESCRIPTION).write_text('{"format": "onnx", "precision": "fp32"}')
    with pytest.raises(bundle.BadBundle, match=r"network\.onnx"):
        variants.open_runner(tmp_path)


def test_missing_package_is_reported_with_the_install_command(monkeypatch: pytest.MonkeyPatch, made: Path) -> None:
    if kind_of(made) not in {"onnx", "int8", "openvino"}:
        pytest.skip("needs torch only")
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(variants.MissingPackage, match=r"pip install -e '\.\[serving\]'"):
        variants.open_runner(made)


def test_threads_of_onnx_runtime_wait_without_using_the_processor(made: Path) -> None:
    if kind_of(made) not in {"onnx", "int8"}:
        pytest.skip("another runtime")
    runner = variants.open_runner(made, threads=2)
    assert isinstance(runner, OnnxRuntimeRunner)
    entry = "session.intra_op.allow_spinning"  # a missing entry raises
    assert runner._session.get_session_options().get_session_config_entry(entry) == "0"
