"""Measures the accuracy of int8 variants on processors with and without VNNI, on 2,000 held-out real images.

    python -m benchmarks.serving.int8_processors prepare --home DIR --dataset fashion_mnist
    python -m benchmarks.serving.int8_processors evaluate --home DIR
    qemu-x86_64 -cpu Haswell $(which python) -m benchmarks.serving.int8_processors evaluate --home DIR

`prepare` trains a convnet and writes an fp32 ONNX file and int8 files with 8-bit and with 7-bit weights, with the same
256 calibration images. No environment variable limits the instructions that ONNX
Runtime selects, because its kernels read CPUID: qemu's user-mode emulation (Debian package `qemu-user`) executes the
same program as on a processor without VNNI. Haswell has AVX2; the saturation of `vpmaddubsw` is exact.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.variants.saturation import has_saturating_sums, read_with_unsigned_weights

NUM_SAMPLES = 2000
NUM_CALIBRATION = 256
BATCH = 50
SIDES = {  # name: file, whether the weights are converted to unsigned
    "fp32": ("fp32.onnx", False),
    "int8, 8-bit weights": ("bits8.onnx", False),
    "int8, 8-bit weights as unsigned": ("bits8.onnx", True),
    "int8, 7-bit weights": ("bits7.onnx", False),
}


def main() -> None:
    options = parse_arguments()
    if options.action == "prepare":
        prepare(options)
    else:
        evaluate(options.home)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["prepare", "evaluate"])
    parser.add_argument("--home", type=Path, required=True, help="folder for the files of the benchmark")
    parser.add_argument("--dataset", default="fashion_mnist")
    parser.add_argument("--datasets-dir", type=Path, default=Path("/usr/share/datasets"))
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--epochs", type=int, default=4)
    return parser.parse_args()


def prepare(options: argparse.Namespace) -> None:
    """Train a convnet, and write its ONNX files and the images of the evaluation."""
    from benchmarks.serving.variants import run_trainer
    from core.datasets.ingest.builtin import pack_builtin
    from core.datasets.packed import PackedDataset
    from models import bundle, variants
    from models.variants.int8 import quantize

    home: Path = options.home
    home.mkdir()
    pack_builtin(options.dataset, {}, options.datasets_dir, home / "packed")
    packed = PackedDataset.open(home / "packed")
    message = run_trainer(home, build_spec(options), home / "train")
    network, description = bundle.load_bundle(Path(message["dir"]))
    folder = home / "variant"
    folder.mkdir()
    variants.write_variant(folder, network, description, "onnx")
    (folder / "network.onnx").rename(home / "fp32.onnx")
    train = packed.read_split("train").images
    calibration = np.ascontiguousarray(train[select_evenly(len(train), NUM_CALIBRATION)])
    quantize(home / "fp32.onnx", home / "bits8.onnx", calibration, 8)
    quantize(home / "fp32.onnx", home / "bits7.onnx", calibration, 7)
    held_out = packed.read_split("test" if "test" in packed.meta.splits else "valid")
    index = select_evenly(len(held_out.targets), NUM_SAMPLES)
    np.savez(home / "held_out.npz", pixels=held_out.images[index], targets=held_out.targets[index])


def build_spec(options: argparse.Namespace) -> dict[str, object]:
    """Return the spec of the training job. Its validation images are not those of the evaluation."""
    return {
        "name": "trained",
        "dataset": {"name": options.dataset, "valid": 0.02},
        "architecture": {"name": "convnet", "channels": options.channels, "head": [256], "batch_norm": True},
        "optimizer": {"name": "adam", "lr": 0.001},
        "schedule": {"name": "one_cycle", "max_lr": 0.003},
        "epochs": options.epochs,
        "batch_size": 64,
        "seed": 0,
    }


def select_evenly(num_all: int, num_selected: int) -> NDArray[np.int64]:
    return np.linspace(0, num_all - 1, min(num_selected, num_all)).astype(np.int64)


def evaluate(home: Path) -> None:
    """Print whether sums saturate on this processor, and the accuracy of each file."""
    samples = np.load(home / "held_out.npz")
    pixels, targets = samples["pixels"], samples["targets"]
    print(
        f"onnxruntime {onnxruntime.__version__}; {len(targets)} images; saturates {has_saturating_sums()}", flush=True
    )
    reference = None
    for name, (file, is_unsigned) in SIDES.items():
        scores = predict(home / file, pixels, is_unsigned=is_unsigned)
        reference = scores if reference is None else reference
        predicted, largest = scores.argmax(1), float(np.abs(scores - reference).max())
        agreement = float((predicted == reference.argmax(1)).mean())
        accuracy = float((predicted == targets).mean())
        print(f"{name:33} accuracy {accuracy:.4f}  agrees {agreement:.4f}  largest {largest:.3f}", flush=True)


def predict(path: Path, pixels: NDArray[np.uint8], *, is_unsigned: bool) -> NDArray[np.float32]:
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = 1
    session_options.log_severity_level = 3
    model = read_with_unsigned_weights(path) if is_unsigned else path
    session = onnxruntime.InferenceSession(model, session_options, providers=["CPUExecutionProvider"])
    batches = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
    return np.concatenate([session.run(None, {"pixels": np.ascontiguousarray(batch)})[0] for batch in batches])


if __name__ == "__main__":
    sys.exit(main())
