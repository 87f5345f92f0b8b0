"""Measures the disk space and the memory that the import of an archive needs at its peak.

    .venv/bin/python benchmarks/import_disk.py [--images 20000] [--size 64] [--format zip tar.gz]

The archive contains JPEG files of blurred noise in random order. The disk space is that of the archive and of all files
of the import, sampled every 5 ms from the allocated blocks. The memory is the peak of the process that packs.
"""

import argparse
import io
import os
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from core.datasets.archives.limits import UploadLimits  # noqa: E402 - the repository's root comes first
from worker.importing.packer import run_packer  # noqa: E402
from worker.importing.process import PackRequest  # noqa: E402

NUM_CLASSES = 10
SAMPLE_EVERY_S = 0.005


def build_images(count: int, size: int) -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(0)
    for number in rng.permutation(count):
        small = rng.integers(0, 256, (size // 4, size // 4, 3), np.uint8)
        pixels = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
        yield f"class_{number % NUM_CLASSES}/{number:06d}.jpg", cv2.imencode(".jpg", pixels)[1].tobytes()


def write_archive(path: Path, count: int, size: int) -> None:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, body in build_images(count, size):
                archive.writestr(name, body)
        return
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, body in build_images(count, size):
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))


class DiskSampler(threading.Thread):
    """Records the highest number of allocated bytes of a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._end = threading.Event()
        self.peak_bytes = 0

    def run(self) -> None:
        while not self._end.wait(SAMPLE_EVERY_S):
            self.sample()

    def sample(self) -> None:
        used = 0
        for parent, _, names in os.walk(self._folder):
            for name in names:
                try:
                    used += os.stat(os.path.join(parent, name)).st_blocks * 512  # noqa: PTH116, PTH118 - called often
                except FileNotFoundError:
                    continue
        self.peak_bytes = max(self.peak_bytes, used)

    def close(self) -> None:
        self._end.set()
        self.join()
        self.sample()


def measure(name: str, count: int, size: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        archive, scratch = Path(folder) / f"archive.{name}", Path(folder) / "scratch"
        write_archive(archive, count, size)
        upload_bytes = archive.stat().st_size
        scratch.mkdir()
        sampler = DiskSampler(Path(folder))
        sampler.start()
        peak_kib = 0

        def read_peak() -> None:
            nonlocal peak_kib
            for status in Path("/proc").glob("[0-9]*/status"):
                try:
                    text = status.read_text()
                    if "worker.importing.process" in status.with_name("cmdline").read_text():
                        peak_kib = max(peak_kib, int(text.partition("VmHWM:")[2].split()[0]))
                except (OSError, IndexError, ValueError):
                    continue

        limits = UploadLimits()
        result = run_packer(
            PackRequest(out=scratch / "packed", options={}, archive=archive, limits=limits), scratch, read_peak
        )
        sampler.close()
        assert result.failure is None, result.failure
        packed_bytes = sum(path.stat().st_size for path in (scratch / "packed").iterdir())
    ratio, packed_ratio = sampler.peak_bytes / upload_bytes, packed_bytes / upload_bytes
    return f"| {name} | {upload_bytes / 1e6:.0f} | {packed_ratio:.2f} | {ratio:.2f} | {peak_kib / 1024:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--format", nargs="+", default=["zip", "tar.gz"], choices=["zip", "tar.gz"])
    options = parser.parse_args()
    print("| archive | MB | packed / upload | disk peak / upload | memory of the packer, MiB |\n|---|--:|--:|--:|--:|")
    for name in options.format:
        print(measure(name, options.images, options.size), flush=True)


if __name__ == "__main__":
    main()
