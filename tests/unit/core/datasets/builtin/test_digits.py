"""The digits of scikit-learn."""

from pathlib import Path

from core.datasets.ingest.builtin import pack_builtin
from core.datasets.packed import PackedDataset


def test_digits_match_scikit_learn(tmp_path: Path) -> None:
    meta, report = pack_builtin("digits", {}, tmp_path, tmp_path / "out")
    assert (meta.splits, meta.image_shape) == ({"train": 1797}, (1, 8, 8))
    assert report["splits"]["train"]["classes"]["3"] == 183
    train = PackedDataset.open(tmp_path / "out").read_split("train")
    assert (train.images.max(), train.targets[:5].tolist()) == (255, [0, 1, 2, 3, 4])
