"""Every form of a network answers as the network does, and what cannot be made or run is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models import bundle, registry, variants
from models.variants.exportable import ExportableModel
from models.variants.runners import Runner
from tests.support.bundles import description

TOLERANCE: dict[variants.Format, float] = {
    "onnx": 1e-4,  # another order of additions
    "openvino": 1e-4,
    "torch-compile": 1e-4,
    "torch-export": 1e-4,
    "int8": 0.1,  # 256 steps an activation
}
COLOUR = {"image_shape": (3, 12, 10), "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.0, 0.3]}


@pytest.fixture(scope="module")
def words() -> bundle.Description:
    return description(**COLOUR)


@pytest.fixture(scope="module")
def network(words: bundle.Description) -> torch.nn.Module:
    torch.manual_seed(0)
    options = words.architecture.options
    network = registry.build(words.architecture.name, options, words.image_shape, words.num_outputs)
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
    words: bundle.Description,
    network: torch.nn.Module,
    pixels: np.ndarray,
) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    variants.write(folder, network, words, request.param, calibration=pixels)
    return folder


def kind_of(folder: Path) -> variants.Format:
    kind: variants.Format = json.loads((folder / variants.DESCRIPTION).read_text())["format"]
    return kind


def opened(folder: Path) -> Runner:
    return variants.open_runner(folder, threads=1, compiler="eager")


def test_a_variant_answers_as_the_network_for_batches_of_any_size(
    made: Path, network: torch.nn.Module, words: bundle.Description, pixels: np.ndarray
) -> None:
    run = opened(made)
    expected = variants.eager(network, words)(pixels)
    for size in (9, 1, 4):
        scores = run(pixels[:size])
        assert scores.dtype == np.float32
        assert scores.shape == (size, words.num_outputs)
        np.testing.assert_allclose(scores, expected[:size], atol=TOLERANCE[kind_of(made)])


def test_answers_stay_as_they_were_when_others_follow(made: Path, pixels: np.ndarray) -> None:
    run = opened(made)
    first = run(pixels[:2])
    kept = first.copy()
    run(255 - pixels[:2])
    np.testing.assert_array_equal(first, kept)


def test_a_variant_says_what_it_is_and_names_no_file_of_this_machine(made: Path, words: bundle.Description) -> None:
    assert bundle.Description.model_validate_json((made / bundle.DESCRIPTION).read_bytes()) == words
    said = variants.VariantDescription.model_validate_json((made / variants.DESCRIPTION).read_bytes())
    assert said.precision == ("int8" if said.format == "int8" else "fp32")
    assert said.made_with
    root = str(Path(__file__).parents[3]).encode()
    assert not [path.name for path in made.iterdir() if root in path.read_bytes()]


def test_the_facts_are_those_of_the_files(tmp_path: Path, network: torch.nn.Module, words: bundle.Description) -> None:
    facts = variants.write(tmp_path, network, words, "torch-compile")
    assert set(facts) == {"weights.safetensors", "bundle.json", "variant.json"}
    for name, (sha256, size) in facts.items():
        assert sha256 == bundle.sha256_of(tmp_path / name)
        assert size == (tmp_path / name).stat().st_size


def test_int8_weights_are_bytes_and_the_preprocessing_is_not(made: Path) -> None:
    if kind_of(made) != "int8":
        pytest.skip("another form")
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(made / "network.onnx").graph
    types = {tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4 and tensor.dims[2] == 3}
    assert types == {onnx.TensorProto.INT8}
    first = next(place for place, node in enumerate(graph.node) if node.op_type == "QuantizeLinear")
    assert {"Cast", "Mul", "Add"} <= {node.op_type for node in graph.node[:first]}


def test_the_graph_prepares_images_as_training_does(network: torch.nn.Module, words: bundle.Description) -> None:
    from models.preprocess import Preprocess

    pixels = torch.randint(0, 256, (2, 12, 10, 3), dtype=torch.uint8)
    preprocess = Preprocess(words.mean, words.std)
    whole = ExportableModel(torch.nn.Identity(), preprocess)
    torch.testing.assert_close(whole(pixels), preprocess(pixels), rtol=0, atol=1e-6)


def test_int8_needs_images(tmp_path: Path, network: torch.nn.Module, words: bundle.Description) -> None:
    with pytest.raises(ValueError, match="calibrate"):
        variants.write(tmp_path, network, words, "int8")


def test_a_folder_that_is_no_variant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(bundle.BadBundle, match="no variant"):
        variants.open_runner(tmp_path)
    (tmp_path / variants.DESCRIPTION).write_text('{"format": "onnx", "precision": "fp32"}')
    with pytest.raises(bundle.BadBundle, match=r"network\.onnx"):
        variants.open_runner(tmp_path)


def test_a_missing_package_is_told_with_what_brings_it(monkeypatch: pytest.MonkeyPatch, made: Path) -> None:
    if kind_of(made) not in {"onnx", "int8", "openvino"}:
        pytest.skip("needs torch only")
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(variants.MissingPackage, match=r"candela\[serving\]"):
        variants.open_runner(made)
