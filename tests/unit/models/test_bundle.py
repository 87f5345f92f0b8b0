"""Bundles: saving, loading, and equal bytes for equal weights."""

import hashlib
from pathlib import Path

import pytest
import torch
from torch import nn

from models import bundle, registry


def description(**changes: object) -> bundle.BundleDescription:
    fields = {
        "architecture": {"name": "convnet", "options": {"channels": [4, 8], "head": [16], "batch_norm": True}},
        "image_shape": (1, 8, 8),
        "num_outputs": 3,
        "task": "classification",
        "classes": ["a", "b", "c"],
        "mean": [0.3],
        "std": [0.2],
    }
    return bundle.BundleDescription.model_validate(fields | changes)


def network(seed: int = 0) -> nn.Module:
    metadata = description()
    torch.manual_seed(seed)
    return registry.build_network(
        metadata.architecture.name, metadata.architecture.options, metadata.image_shape, metadata.num_outputs
    )


def test_loaded_network_equals_the_saved_one(tmp_path: Path) -> None:
    saved = network()
    saved(torch.rand(4, 1, 8, 8))  # moves the running statistics of batch norm
    bundle.save_bundle(tmp_path, saved, description(lineage={"job": "j1"}))
    loaded, metadata = bundle.load_bundle(tmp_path)
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(loaded(images), saved.eval()(images))
    assert not loaded.training
    assert metadata == description(lineage={"job": "j1"})


def test_save_bundle_returns_hash_and_size_of_each_file(tmp_path: Path) -> None:
    files = bundle.save_bundle(tmp_path, network(), description())
    assert files.keys() == {"weights.safetensors", "bundle.json"} == {path.name for path in tmp_path.iterdir()}
    for name, (sha256, size_bytes) in files.items():
        body = (tmp_path / name).read_bytes()
        assert (hashlib.sha256(body).hexdigest(), len(body)) == (sha256, size_bytes)


def test_equal_weights_give_equal_hashes_in_any_memory_format(tmp_path: Path) -> None:
    first = bundle.write_weights(tmp_path / "a", network())
    second = bundle.write_weights(tmp_path / "b", network().to(memory_format=torch.channels_last).state_dict())
    assert first == second
    assert bundle.write_weights(tmp_path / "c", network(seed=1)) != first


def test_tensors_that_share_memory_are_stored_separately(tmp_path: Path) -> None:
    weight = torch.ones(3)
    assert bundle.write_weights(tmp_path / "a", {"x": weight, "y": weight})


@pytest.mark.parametrize("name", ["resnet18", "swin_t", "vit_b_32", "regnet_x_400mf", "googlenet"])
def test_torchvision_networks_are_loaded_completely(name: str, tmp_path: Path) -> None:
    saved = registry.build_network(name, {}, (3, 32, 32), 3)
    metadata = description(architecture={"name": name}, image_shape=(3, 32, 32))
    bundle.save_bundle(tmp_path, saved, metadata)
    images = torch.rand(2, 3, 32, 32)
    loaded = bundle.load_bundle(tmp_path)[0]
    assert list(loaded.state_dict()) == list(saved.state_dict())
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in saved.state_dict().items())
    # Not to the bit: some kernels choose their order of summation by where in memory a tensor begins.
    torch.testing.assert_close(loaded(images), saved.eval()(images))


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    bundle.save_bundle(tmp_path, network(), description())
    before = torch.get_rng_state()
    bundle.load_bundle(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("file", ["weights.safetensors", "bundle.json"])
@pytest.mark.parametrize("body", [None, b"", b"{}", b"\x80\x04 no pickle is ever read"])
def test_damaged_files_raise_bad_bundle(file: str, body: bytes | None, tmp_path: Path) -> None:
    bundle.save_bundle(tmp_path, network(), description())
    (tmp_path / file).unlink()
    if body is not None:
        (tmp_path / file).write_bytes(body)
    with pytest.raises(bundle.BadBundle):
        bundle.load_bundle(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_outputs": 4},
        {"architecture": {"name": "nope"}},
        {"architecture": {"name": "convnet", "options": {"x": 1}}},
    ],
)
def test_weights_of_another_network_are_rejected(changes: dict[str, object], tmp_path: Path) -> None:
    bundle.save_bundle(tmp_path, network(), description())
    (tmp_path / "bundle.json").write_text(description(**changes).model_dump_json())
    with pytest.raises(bundle.BadBundle):
        bundle.load_bundle(tmp_path)
