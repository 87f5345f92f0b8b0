"""Small datasets of every task."""

from typing import get_args

import pytest

from core.datasets.packed import PackedDataset, Task
from tests.support.training import pack


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[Task, PackedDataset]:
    """One packed dataset of 150 samples per task."""
    root = tmp_path_factory.mktemp("packed")
    return {task: pack(root / task, task=task, num_samples=150) for task in get_args(Task)}
