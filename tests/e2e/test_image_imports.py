"""Images of several formats through the command line: import with padding, report, training, prediction."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.e2e.conftest import Service, environment
from tests.support.images import random_pixels

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(240)]
Up = Callable[..., Service]
SUFFIXES = ("png", "gif", "bmp", "tif", "webp")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with dark and bright images that are twice as wide as high, in five formats, and two text files."""
    for label, level in (("dark", 0), ("bright", 180)):
        (tmp_path / "shades" / label).mkdir(parents=True)
        for number in range(20):
            pixels = random_pixels(number + level, height=16, width=32) // 4 + level
            Image.fromarray(pixels).save(tmp_path / "shades" / label / f"{number}.{SUFFIXES[number % 5]}")
    (tmp_path / "shades" / "dark" / "notes.txt").write_text("not an image")
    (tmp_path / "shades" / "bright" / "README").write_text("not an image")
    return tmp_path / "shades"


def run_candela(service: Service, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "candela", *arguments],
        env=environment(CANDELA_URL=service.url, COLUMNS="80"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def test_images_are_padded_in_imports_and_predictions(service: Service, folder: Path, tmp_path: Path) -> None:
    options = ("-o", "image_size=16", "-o", "resize=pad", "-o", "pad_color=#ff8000")
    status, printed, error = run_candela(service, "datasets", "add", "shades", str(folder), *options)
    assert status == 0, error
    lines = [line.strip() for line in printed.splitlines()]
    assert lines[0] == "shades version 1 is ready"
    assert "images        3 x 16 x 16, resize=pad, pad_color=#ff8000, interpolation=area" in lines
    assert "samples       train 40" in lines
    assert {"left out      .txt 1, no suffix 1", "left out      no suffix 1, .txt 1"} & set(lines)
    assert max(map(len, printed.splitlines())) <= 80
    job = {
        "name": "shades",
        "dataset": {"name": "shades", "valid": 0.25},
        "architecture": {"name": "convnet", "channels": [8], "head": [8]},
        "optimizer": {"name": "adam", "lr": 0.01},
        "batch_size": 8,
        "epochs": 6,
        "threads": 1,
        "device": "cpu",
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    status, printed, error = run_candela(service, "submit", str(tmp_path / "job.json"), "--watch", "--json")
    assert status == 0, error
    assert json.loads(printed)["metrics"]["valid_accuracy"] == 1.0
    with service.client() as client:
        version: dict[str, Any] = client.models.get_version("shades", 1)
        assert version["input"]["resize"] == "pad"
        assert version["input"]["pad_color"] == [255, 128, 0]
        for number, suffix in enumerate(SUFFIXES):
            prediction = client.models.predict("shades", folder / "bright" / f"{number}.{suffix}")
            assert prediction["predictions"][0]["label"] == "bright", suffix


def test_a_recipe_sets_the_size_and_its_name_is_checked(service: Service, folder: Path) -> None:
    status, printed, error = run_candela(
        service, "datasets", "add", "lite", str(folder), "-o", "recipe=efficientnet_lite0"
    )
    assert status == 0, error
    assert "3 x 224 x 224, resize=crop, resize_shorter_side=256," in printed
    status, _, error = run_candela(service, "datasets", "add", "lite", str(folder), "-o", "recipe=convnet")
    assert status == 1
    assert "?recipe: unknown recipe 'convnet'; did you mean" in error
    status, _, error = run_candela(service, "datasets", "add", "lite", str(folder), "-o", "image_size=5000")
    assert "?image_size: must be a side, such as 64, or height x width, such as 48x64; each 1 to 4096" in error
