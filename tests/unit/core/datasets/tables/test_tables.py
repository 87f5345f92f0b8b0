"""Built-in tables and series: what the workshop says of the penguins, and that time does not leak."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from core.datasets import builtin
from core.datasets.builtin.timeseries import generate_series
from core.datasets.ingest.builtin import pack_builtin
from core.datasets.packed import PackedDataset
from core.datasets.splits import resolve_splits
from core.errors import CorruptFile
from core.spec import DatasetSpec


def packed(tmp_path: Path, name: str, **options: object) -> PackedDataset:
    pack_builtin(name, options, tmp_path, tmp_path / "out")
    return PackedDataset.open(tmp_path / "out")


def test_the_whole_penguins_are_those_of_the_workshop(tmp_path: Path) -> None:
    penguins = packed(tmp_path, "palmerpenguins")
    train = penguins.read_split("train")
    assert train.images.shape == (333, 6)
    assert train.images[0, :4].tolist() == [np.float32(39.1), np.float32(18.7), 181, 3750]
    assert np.bincount(train.targets).tolist() == [146, 68, 119]
    assert penguins.meta.classes == ("Adelie", "Chinstrap", "Gentoo")
    assert isinstance(train.images, np.memmap)


def test_imputing_keeps_the_penguins_that_lack_something(tmp_path: Path) -> None:
    penguins = packed(tmp_path, "palmerpenguins", missing="impute")
    rows = penguins.read_split("train").images
    assert len(rows) == 344
    assert np.isnan(rows[3, :4]).all()
    assert (rows[:, 5] == 0).sum() == 11  # of unknown sex
    np.testing.assert_allclose(penguins.meta.mean[0], np.nanmean(rows[:, 0], dtype=np.float64))


@pytest.mark.parametrize("missing", ["drop", "impute"])
@pytest.mark.parametrize("target", ["species", "island", "sex", "body_mass_g", "bill_depth_mm"])
def test_penguins_are_what_their_facts_say(target: str, missing: str, tmp_path: Path) -> None:
    options = {"target": target, "missing": missing}
    facts = builtin.get_dataset("palmerpenguins").get_info(options)
    meta, report = pack_builtin("palmerpenguins", options, tmp_path, tmp_path / "out")
    assert (meta.task, meta.classes, meta.num_outputs, meta.image_shape, meta.splits, meta.table) == facts
    assert report["splits"]["train"]["num_samples"] == facts.splits["train"]


def test_a_penguin_is_not_predicted_from_its_own_species() -> None:
    with pytest.raises(ValidationError, match="must not contain the target"):
        builtin.get_dataset("palmerpenguins").parse_options({"columns": ["species"]})


def test_windows_are_views_of_the_series(tmp_path: Path) -> None:
    windows = packed(tmp_path, "timeseries", num_hours=400, window=24, horizon=3, seed=5)
    values = generate_series(400, 5).astype(np.float32)
    train, valid = windows.read_split("train"), windows.read_split("valid")
    assert train.images.shape == (320 - 24 - 3 + 1, 24, 2)
    assert valid.images.shape == (80 - 24 - 3 + 1, 24, 2)
    assert not train.images.flags.owndata
    np.testing.assert_array_equal(train.images[7], values[7:31])
    np.testing.assert_array_equal(train.targets[7], values[31:34, 0])
    np.testing.assert_array_equal(valid.images[0], values[320:344])
    np.testing.assert_array_equal(valid.targets[-1], values[397:400, 0])
    assert train.names[7] == "31"


def test_nothing_that_validates_was_trained_on_or_measured(tmp_path: Path) -> None:
    windows = packed(tmp_path, "timeseries", num_hours=400, window=24, horizon=3, test_share=0.2)
    values = generate_series(400, 0).astype(np.float32)
    num_train = 240
    splits = resolve_splits(windows, DatasetSpec(name="timeseries"), 0)
    last = int(splits.train_index[-1])
    assert last + 24 + 3 == num_train  # the last one's last target is the last hour of the stretch
    assert windows.read_split("valid").names[0] == str(num_train + 24)
    np.testing.assert_allclose(windows.meta.mean, values[:num_train].mean(axis=0, dtype=np.float64))
    assert windows.meta.splits == {"train": 214, "valid": 54, "test": 54}


def test_windows_are_never_held_out_by_chance(tmp_path: Path) -> None:
    windows = packed(tmp_path, "timeseries", num_hours=400, window=24)
    with pytest.raises(ValueError, match="divided at import"):
        resolve_splits(windows, DatasetSpec(name="timeseries", valid=0.2), 0)


def test_a_series_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"window \+ horizon = 169"):
        builtin.get_dataset("timeseries").parse_options({"num_hours": 400})


def test_a_damaged_table_is_found(tmp_path: Path) -> None:
    penguins = packed(tmp_path, "palmerpenguins")
    np.save(tmp_path / "out" / "train_rows.npy", np.zeros((333, 5), np.float32))
    with pytest.raises(CorruptFile):
        penguins.read_split("train")


def test_tables_have_a_preview(tmp_path: Path) -> None:
    packed(tmp_path, "palmerpenguins", missing="impute")
    assert (tmp_path / "out" / "preview.png").read_bytes()[:4] == b"\x89PNG"
