"""Models in the memory of the inference process: one per bundle and output, with holders."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.inference.model_registry import ModelRegistry
from app.inference.protocol import Load
from app.inference.types import BatcherClosed, OutputKind, Request
from core.errors import CorruptFile
from models import bundle
from tests.support import bundles


@pytest.fixture
def registry() -> Iterator[ModelRegistry]:
    registry = ModelRegistry("cpu", lambda model_id: lambda stats, requests: None)
    yield registry
    for holder in ("first", "second"):
        registry.release_all(holder)


def make_request(folder: Path, output: OutputKind = "scores") -> Load:
    description = bundles.build_description()
    bundle.save_bundle(folder, bundles.build_network(description), description)
    return Load(1, "jobs/a/bundle", output, str(folder), "m", max_batch_size=2, max_waiting=4)


def test_connections_share_a_model_until_the_last_one_unloads_it(registry: ModelRegistry, tmp_path: Path) -> None:
    request = make_request(tmp_path)
    model = registry.load(request, "first")
    assert registry.load(request, "second") is model
    assert registry.list_holders(model.id) == ["first", "second"]
    registry.unload(model.id, "first")
    assert registry.find_model(model.id) is model
    registry.release_all("second")
    assert registry.find_model(model.id) is None
    with pytest.raises(BatcherClosed):
        model.batcher.put(Request([], received_at=0.0))


def test_each_output_is_a_separate_model(registry: ModelRegistry, tmp_path: Path) -> None:
    scores = registry.load(make_request(tmp_path), "first")
    (tmp_path / "second").mkdir()
    attention = registry.load(make_request(tmp_path / "second", "attention"), "first")
    assert scores.id != attention.id
    assert scores.sample_shape == attention.sample_shape == (8, 8, 1)


def test_an_invalid_bundle_is_a_corrupt_file_every_time(registry: ModelRegistry, tmp_path: Path) -> None:
    request = Load(1, "jobs/none/bundle", "scores", str(tmp_path), "m", max_batch_size=2, max_waiting=4)
    for _ in range(2):
        with pytest.raises(CorruptFile):
            registry.load(request, "first")
