"""Fixtures that tests of several packages use."""

from collections.abc import Callable
from typing import Any

import pytest

from core.datasets.packed import PackedDataset

PackDataset = Callable[..., PackedDataset]


@pytest.fixture(scope="session")
def pack_dataset(tmp_path_factory: pytest.TempPathFactory) -> PackDataset:
    """Return a function from options to a synthetic dataset. It packs each dataset once per session."""
    from tests.support.training import add_weights, pack  # imports torch, which most unit tests do without

    datasets: dict[str, PackedDataset] = {}

    def pack_once(*, is_weighted: bool = False, **options: Any) -> PackedDataset:
        key = repr((is_weighted, sorted(options.items())))
        if key not in datasets:
            dataset = pack(tmp_path_factory.mktemp("packed") / "dataset", **options)
            datasets[key] = add_weights(dataset) if is_weighted else dataset
        return datasets[key]

    return pack_once


@pytest.fixture
def packed(request: pytest.FixtureRequest, pack_dataset: PackDataset) -> PackedDataset:
    """Return a small dataset. `@pytest.mark.packed(num_samples=150)` sets its options; the default has 90 samples."""
    marker = request.node.get_closest_marker("packed")
    return pack_dataset(**(marker.kwargs if marker else {}))
