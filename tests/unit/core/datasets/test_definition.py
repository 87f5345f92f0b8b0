"""Every built-in dataset says what it is without files, says what is missing, and packs into what it said."""

import gzip
import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from core.datasets import builtin
from core.datasets.ingest.builtin import pack_builtin
from core.datasets.packed import PackedDataset
from core.errors import CorruptFile
from tests.support.data import find_datasets_dir
from tests.support.images import encode_image, random_pixels

NEED_NO_FILES = ["digits", "palmerpenguins", "synthetic", "timeseries"]
Builder = Callable[[Path], Path]


@pytest.mark.parametrize("name", builtin.list_names())
def test_facts_are_known_without_files(name: str) -> None:
    dataset = builtin.get_dataset(name)
    facts = dataset.get_info({})
    assert facts.task == ("regression" if name == "timeseries" else "classification")
    assert facts.num_outputs == len(facts.classes) == len(set(facts.classes))
    assert facts.splits["train"] > 0
    assert all((dataset.summary, dataset.source, dataset.licence))


@pytest.mark.parametrize("name", builtin.list_names())
def test_missing_files_are_named(name: str, tmp_path: Path) -> None:
    dataset = builtin.get_dataset(name)
    missing = dataset.list_missing_files(tmp_path, {})
    assert bool(missing) == (name not in NEED_NO_FILES)
    assert all(file.startswith(name) for file in missing)
    if missing:
        assert name in dataset.help_text
        with pytest.raises(CorruptFile) as refused:
            pack_builtin(name, {}, tmp_path, tmp_path / "out")
        assert refused.value.facts["missing"] == missing


def test_an_unknown_name_tells_the_known_ones() -> None:
    with pytest.raises(builtin.UnknownDataset) as unknown:
        builtin.get_dataset("imagenet")
    assert unknown.value.available == builtin.list_names()


def test_digits_are_those_of_scikit_learn(tmp_path: Path) -> None:
    meta, report = pack_builtin("digits", {}, tmp_path, tmp_path / "out")
    assert (meta.splits, meta.image_shape) == ({"train": 1797}, (1, 8, 8))
    assert report["splits"]["train"]["classes"]["3"] == 183
    train = PackedDataset.open(tmp_path / "out").read_split("train")
    assert (train.images.max(), train.targets[:5].tolist()) == (255, [0, 1, 2, 3, 4])


@pytest.mark.parametrize(
    "options",
    [
        {"image_shape": [3, 64, 64], "num_classes": 200, "num_samples": 400},
        {"task": "regression", "num_classes": 2},
        {"task": "binary"},
        {"task": "multilabel", "image_shape": [1, 5, 7]},
        {"image_shape": [7, 1, 1], "num_samples": 10},
    ],
)
def test_synthetic_is_what_its_facts_say_and_always_the_same(options: dict[str, Any], tmp_path: Path) -> None:
    facts = builtin.get_dataset("synthetic").get_info(options)
    meta, _ = pack_builtin("synthetic", options, tmp_path, tmp_path / "a")
    again, _ = pack_builtin("synthetic", options, tmp_path, tmp_path / "b")
    other, _ = pack_builtin("synthetic", options | {"seed": 1}, tmp_path, tmp_path / "c")
    assert (meta.task, meta.classes, meta.num_outputs, meta.image_shape, meta.splits, None) == facts
    assert meta.content_hash == again.content_hash != other.content_hash


def test_synthetic_can_be_learnt(tmp_path: Path) -> None:
    pack_builtin("synthetic", {"num_classes": 20, "num_samples": 400}, tmp_path, tmp_path / "out")
    train = PackedDataset.open(tmp_path / "out").read_split("train")
    flat = train.images.reshape(400, -1).astype(float)
    means = np.stack([flat[:200][train.targets[:200] == label].mean(axis=0) for label in range(20)])
    nearest = np.linalg.norm(flat[200:, None] - means, axis=2).argmin(axis=1)
    assert (nearest == train.targets[200:]).mean() > 0.95


@pytest.mark.parametrize(
    "options",
    [
        {"num_classes": 1},
        {"num_classes": 11, "num_samples": 10},
        {"task": "binary", "num_classes": 3},
        {"image_shape": [3, 0, 4]},
        {"num_samples": True},
        {"image_shape": [16, 4096, 4096], "num_samples": 100},
        {"colour": "red"},
    ],
)
def test_impossible_synthetic_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        builtin.get_dataset("synthetic").parse_options(options)


# ---- IDX


def idx(array: Any) -> bytes:
    values = np.asarray(array, np.uint8)
    return struct.pack(f">{values.ndim + 1}I", 0x800 + values.ndim, *values.shape) + values.tobytes()


def mnist_tree(home: Path, *, suffix: str = ".gz", dotted: bool = False) -> None:
    home.mkdir(parents=True)
    for stem, count in (("train", 30), ("t10k", 20)):
        for part, array in (
            ("images-idx3-ubyte", np.random.default_rng(count).integers(0, 256, (count, 28, 28))),
            ("labels-idx1-ubyte", np.arange(count) % 10),
        ):
            name = f"{stem}-{part.replace('-idx', '.idx') if dotted else part}"
            body = idx(array)
            (home / f"{name}{suffix}").write_bytes(gzip.compress(body) if suffix else body)


@pytest.mark.parametrize("folder", ["fashion_mnist", "fashion-mnist", "FashionMNIST/raw"])
def test_idx_files_are_found_where_they_are_usually_kept(folder: str, tmp_path: Path) -> None:
    mnist_tree(tmp_path / folder)
    meta, _ = pack_builtin("fashion_mnist", {}, tmp_path, tmp_path / "out")
    assert meta.splits == {"train": 30, "test": 20}
    assert meta.classes[9] == "Ankle boot"


def test_plain_gzipped_and_dotted_idx_files_are_the_same(tmp_path: Path) -> None:
    hashes = set()
    for number, options in enumerate([{"suffix": ""}, {"suffix": ".gz"}, {"suffix": "", "dotted": True}]):
        mnist_tree(tmp_path / str(number) / "mnist", **options)  # type: ignore[arg-type]
        hashes.add(pack_builtin("mnist", {}, tmp_path / str(number), tmp_path / f"out{number}")[0].content_hash)
    assert len(hashes) == 1


def test_only_the_missing_idx_files_are_named(tmp_path: Path) -> None:
    mnist_tree(tmp_path / "MNIST/raw")
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte.gz").unlink()
    assert builtin.get_dataset("mnist").list_missing_files(tmp_path, {}) == ["MNIST/raw/t10k-labels-idx1-ubyte.gz"]


@pytest.mark.parametrize(
    "body", [b"", b"\0\0\x08\3", idx(np.zeros((3, 4))), idx(np.zeros((30, 28, 28)))[:-1]], ids=range(4)
)
def test_a_damaged_idx_file_is_corrupt(body: bytes, tmp_path: Path) -> None:
    mnist_tree(tmp_path / "mnist", suffix="")
    (tmp_path / "mnist/train-images-idx3-ubyte").write_bytes(body)
    with pytest.raises(CorruptFile, match="train-images"):
        pack_builtin("mnist", {}, tmp_path, tmp_path / "out")


def test_the_real_fashion_mnist(tmp_path: Path) -> None:
    home = find_datasets_dir("fashion-mnist/train-images-idx3-ubyte.gz")
    meta, report = pack_builtin("fashion_mnist", {}, home, tmp_path / "out")
    assert meta.splits == {"train": 60_000, "test": 10_000}
    assert set(report["splits"]["train"]["classes"].values()) == {6000}
    np.testing.assert_allclose((*meta.mean, *meta.std), (0.2860, 0.3530), atol=1e-4)  # the usual constants


# ---- CIFAR


def cifar_binary(home: Path) -> None:
    (home / "cifar-10-batches-bin").mkdir(parents=True)
    for name, rows, labels in cifar_batches():
        records = np.concatenate([labels[:, None], rows], axis=1).astype(np.uint8)
        (home / "cifar-10-batches-bin" / f"{name}.bin").write_bytes(records.tobytes())


def cifar_pickles(home: Path, protocol: int = 2) -> None:
    (home / "cifar-10-batches-py").mkdir(parents=True)
    for name, rows, labels in cifar_batches():
        content = {b"batch_label": b"some", b"data": rows, b"labels": labels.tolist()}
        (home / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(content, protocol))


def cifar_batches() -> list[tuple[str, Any, Any]]:
    rng = np.random.default_rng(0)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    return [(name, rng.integers(0, 256, (4, 3072)).astype(np.uint8), np.arange(4)) for name in names]


@pytest.mark.parametrize("under", ["cifar10", "."])
def test_both_versions_of_cifar_are_the_same(under: str, tmp_path: Path) -> None:
    hashes = set()
    for name, build in (("binary", cifar_binary), ("pickles", cifar_pickles)):
        build(tmp_path / name / under)
        meta, _ = pack_builtin("cifar10", {}, tmp_path / name, tmp_path / f"out-{name}")
        assert meta.splits == {"train": 20, "test": 4}
        hashes.add(meta.content_hash)
    assert len(hashes) == 1
    first = PackedDataset.open(tmp_path / "out-binary").read_split("train").images[0]
    np.testing.assert_array_equal(first, cifar_batches()[0][1][0].reshape(3, 32, 32).transpose(1, 2, 0))


def test_cifar100_takes_the_fine_labels(tmp_path: Path) -> None:
    rows = np.zeros((2, 3072), np.uint8)
    (tmp_path / "a/cifar-100-python").mkdir(parents=True)
    (tmp_path / "b/cifar-100-binary").mkdir(parents=True)
    content = {b"data": rows, b"fine_labels": [99, 7], b"coarse_labels": [1, 2]}
    for name in ("train", "test"):
        (tmp_path / "a/cifar-100-python" / name).write_bytes(pickle.dumps(content, 2))
        records = np.concatenate([[[1, 99], [2, 7]], rows], axis=1).astype(np.uint8)
        (tmp_path / "b/cifar-100-binary" / f"{name}.bin").write_bytes(records.tobytes())
    metas = [pack_builtin("cifar100", {}, tmp_path / part, tmp_path / f"out-{part}")[0] for part in "ab"]
    assert metas[0] == metas[1]
    assert PackedDataset.open(tmp_path / "out-a").read_split("train").targets.tolist() == [99, 7]
    assert len(set(metas[0].classes)) == 100


class Evil:
    ran = False

    def __reduce__(self) -> Any:
        return (setattr, (Evil, "ran", True))


@pytest.mark.parametrize(
    "content", [Evil(), {b"data": Evil(), b"labels": [0]}, {b"labels": [0]}, [1], {b"data": np.zeros(3)}]
)
def test_a_pickle_that_is_no_cifar_runs_nothing(content: Any, tmp_path: Path) -> None:
    cifar_pickles(tmp_path)
    (tmp_path / "cifar-10-batches-py/data_batch_1").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(CorruptFile):
        pack_builtin("cifar10", {}, tmp_path, tmp_path / "out")
    assert not Evil.ran


# ---- Tiny ImageNet

WNIDS = ["n02", "n01", "n10"]


def tiny_files(*, sorted_validation: bool) -> dict[str, bytes]:
    files = {"wnids.txt": b"n02\nn01\nn10\n", "words.txt": b"n01\tgoldfish\nn02\ttench, Tinca tinca\nn77\tother\n"}
    lines = []
    for label, wnid in enumerate(WNIDS):
        for number in range(3 + label):  # classes of different sizes
            body = encode_image(random_pixels(label * 10 + number, 64, 64), "JPEG")
            files[f"train/{wnid}/images/{wnid}_{number}.JPEG"] = body
        body = encode_image(
            random_pixels(100 + label, 64, 64, channels=1), "JPEG"
        )  # grey, as some of the real ones are
        name = f"val_{label}.JPEG"
        files[f"val/{wnid}/{name}" if sorted_validation else f"val/images/{name}"] = body
        lines.append(f"{name}\t{wnid}\t0\t0\t63\t63")
    if not sorted_validation:
        files["val/val_annotations.txt"] = "\n".join(lines).encode()
    files["test/images/test_0.JPEG"] = encode_image(random_pixels(0, 64, 64), "JPEG")
    return files


def as_folder(home: Path, files: dict[str, bytes]) -> None:
    for name, body in files.items():
        path = home / "tiny_imagenet/tiny-imagenet-200" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


def as_zip(home: Path, files: dict[str, bytes]) -> None:
    home.mkdir(parents=True)
    with zipfile.ZipFile(home / "tiny-imagenet-200-part.zip", "w") as archive:
        for name, body in files.items():
            archive.writestr(f"tiny-imagenet-200/{name}", body)


@pytest.mark.parametrize("lay", [as_folder, as_zip])
@pytest.mark.parametrize("sorted_validation", [False, True])
def test_every_layout_of_tiny_imagenet(lay: Any, sorted_validation: bool, tmp_path: Path) -> None:
    lay(tmp_path / "home", tiny_files(sorted_validation=sorted_validation))
    facts = builtin.get_dataset("tiny_imagenet").get_info({}, tmp_path / "home")
    meta, report = pack_builtin("tiny_imagenet", {}, tmp_path / "home", tmp_path / "out")
    assert meta.splits == facts.splits == {"train": 12, "valid": 3}
    assert meta.classes == facts.classes == ("n01", "n02", "n10")
    assert report["splits"]["train"]["classes"] == {"n01": 4, "n02": 3, "n10": 5}
    valid = PackedDataset.open(tmp_path / "out").read_split("valid")
    assert sorted(valid.targets.tolist()) == [0, 1, 2]
    at = int(np.flatnonzero(valid.targets == 1)[0])
    np.testing.assert_allclose(valid.images[at].mean(), random_pixels(100, 64, 64, channels=1).mean(), atol=2)
    np.testing.assert_array_equal(valid.images[at][..., 0], valid.images[at][..., 2])


def test_the_layouts_have_one_content(tmp_path: Path) -> None:
    as_folder(tmp_path / "a", tiny_files(sorted_validation=True))
    as_zip(tmp_path / "b", tiny_files(sorted_validation=False))
    metas = [pack_builtin("tiny_imagenet", {}, tmp_path / part, tmp_path / f"out-{part}")[0] for part in "ab"]
    assert metas[0].content_hash == metas[1].content_hash


def test_words_name_the_classes(tmp_path: Path) -> None:
    as_folder(tmp_path, tiny_files(sorted_validation=False))
    meta, _ = pack_builtin("tiny_imagenet", {"words": True}, tmp_path, tmp_path / "out")
    assert meta.classes == ("goldfish", "tench, Tinca tinca", "n10")


def test_an_unreadable_image_is_named_not_silently_lost(tmp_path: Path) -> None:
    files = tiny_files(sorted_validation=False)
    files["train/n01/images/n01_0.JPEG"] = files["train/n01/images/n01_0.JPEG"][:300]
    as_folder(tmp_path, files)
    meta, report = pack_builtin("tiny_imagenet", {}, tmp_path, tmp_path / "out")
    assert meta.splits["train"] == 11
    assert [entry["name"] for entry in report["unreadable"]] == ["train/n01/images/n01_0.JPEG"]


def test_a_damaged_zip_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "tiny-imagenet-200.zip").write_bytes(b"PK\3\4" + io.BytesIO(b"x" * 100).getvalue())
    with pytest.raises(CorruptFile):
        pack_builtin("tiny_imagenet", {}, tmp_path, tmp_path / "out")


@pytest.mark.slow
def test_the_real_tiny_imagenet(tmp_path: Path) -> None:
    home = find_datasets_dir("tiny-imagenet-200*.zip")
    meta, report = pack_builtin("tiny_imagenet", {}, home, tmp_path / "out")
    assert (len(meta.classes), meta.splits["valid"], report["num_unreadable"]) == (200, 10_000, 0)
    np.testing.assert_allclose(meta.mean, (0.4802, 0.4481, 0.3975), atol=2e-3)  # of all 100,000 training pictures
    np.testing.assert_allclose(meta.std, (0.2764, 0.2689, 0.2816), atol=2e-3)
