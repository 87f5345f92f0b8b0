"""Writes a small set of scanned digits with common faults, for `docs/how-to/data-sets.md`.

    python examples/digit_images.py digits-small digits-flat

The first folder has class folders. The second has the same images in one folder, and their labels in `labels.csv`. The
names begin with a group, `g00` to `g19`. The set contains an exact copy, a brighter copy, a digit that is in two
classes, and a blank image.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

NUM_IMAGES = 200
GROUP_SIZE = 10
SIDE = 32


def load_images() -> list[tuple[str, str, np.ndarray]]:
    """Return the label, the name and the pixels, uint8 (32, 32), of each image."""
    digits = load_digits()
    scale = SIDE // 8
    images = [
        (str(label), f"g{number // GROUP_SIZE:02}_{number:03}.png", np.kron(pixels * 15, np.ones((scale, scale))))
        for number, (label, pixels) in enumerate(zip(digits.target, digits.images, strict=True))
    ][:NUM_IMAGES]
    label, _, pixels = images[0]
    images.append((label, "g00_copy.png", pixels))
    images.append((label, "g05_brighter.png", np.minimum(pixels * 1.05 + 4, 255)))
    images.append((images[1][0], "g00_conflict.png", images[2][2]))
    images.append(("8", "g19_blank.png", np.zeros((SIDE, SIDE))))
    return [(label, name, pixels.astype(np.uint8)) for label, name, pixels in images]


def main() -> None:
    folder, flat = (Path(argument) for argument in sys.argv[1:3])
    flat.mkdir(parents=True)
    rows = []
    for label, name, pixels in load_images():
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / label / name)
        Image.fromarray(pixels).save(flat / name)
        rows.append({"name": name, "label": label, "group": name[:3]})
    with (flat / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["name", "label", "group"])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
