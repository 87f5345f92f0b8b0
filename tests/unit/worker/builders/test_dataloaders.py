"""Data loaders on the host and on the device."""

import numpy as np
import pytest

from core.datasets.packed import PackedDataset, Task
from core.spec import transforms
from tests.support.spec_examples import build_member, list_names
from tests.support.training import build_small_run
from worker.builders import dataloaders
from worker.engine.dataloader import DeviceResidentDataLoader


def test_images_stay_on_the_host_without_a_gpu(datasets: dict[Task, PackedDataset]) -> None:
    assert not isinstance(build_small_run(datasets["classification"]).train_batches, DeviceResidentDataLoader)


def test_images_that_fit_stay_on_the_device_unless_a_transform_needs_the_host(
    datasets: dict[Task, PackedDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    class HostTransform:
        num_random_params = 0

        def __call__(self, images: np.ndarray, random_params: np.ndarray) -> np.ndarray:
            return images

    monkeypatch.setattr(dataloaders, "fits_on_device", lambda *_: True)
    transform_specs = [build_member(name) for name in list_names(transforms.TransformSpec)]
    dataset = {"name": "synthetic", "train_transforms": transform_specs}
    run = build_small_run(datasets["classification"], dataset=dataset)
    assert isinstance(run.train_batches, DeviceResidentDataLoader)
    assert not isinstance(run.valid_batches, DeviceResidentDataLoader)
    run.build_loop().fit(run.state)
    assert run.state.epoch > 0
    monkeypatch.setattr(dataloaders, "make_transform", lambda _: HostTransform())
    assert not isinstance(
        build_small_run(datasets["classification"], dataset=dataset).train_batches, DeviceResidentDataLoader
    )
