"""Decoding of image files and pixel values; `core.images` has the tests of the file formats."""

import asyncio
import io
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.serving import decoding
from app.serving.decoding import Decoder, ImageInput, PixelValues, parse_pixel_values
from core.errors import InvalidImage, Overloaded, ServiceError, TooLarge
from core.resizing import STRETCH
from tests.support.hostile_images import multi_scan_jpeg


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(max_waiting=8, max_bytes=10_000, max_pixels=20_000)
    yield decoder
    decoder.close()


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


async def test_each_image_has_a_separate_outcome(decoder: Decoder) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    error = InvalidImage("not base64")
    inputs: list[ImageInput] = [png(grey), b"not an image", PixelValues(grey.tolist()), error, b"x" * 10_001]
    outcomes = await decoder.decode(inputs, (1, 8, 8), STRETCH)
    np.testing.assert_array_equal(outcomes[0], grey[:, :, None])
    np.testing.assert_array_equal(outcomes[2], grey[:, :, None])
    assert isinstance(outcomes[1], InvalidImage)
    assert outcomes[3] is error
    assert isinstance(outcomes[4], TooLarge)


@pytest.fixture
def thread_jobs(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Record the jobs of the decoder's threads."""
    jobs: list[object] = []
    submit = decoder._threads.submit

    def record(*job: Any) -> Any:
        jobs.append(job)
        return submit(*job)

    monkeypatch.setattr(decoder._threads, "submit", record)
    return jobs


async def test_a_few_small_images_need_no_thread(decoder: Decoder, thread_jobs: list[object]) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    pixels, error = await decoder.decode([png(grey), b"not an image"], (1, 8, 8), STRETCH)
    np.testing.assert_array_equal(pixels, grey[:, :, None])
    assert isinstance(error, InvalidImage)
    assert thread_jobs == []


@pytest.mark.parametrize(("count", "side"), [(1, 129), (5, 8)])
async def test_many_or_large_images_are_decoded_by_threads(
    decoder: Decoder, thread_jobs: list[object], count: int, side: int
) -> None:
    flat = png(np.full((side, side), 7, np.uint8))
    outcomes = await decoder.decode([flat] * count, (1, 8, 8), STRETCH)
    for outcome in outcomes:
        np.testing.assert_array_equal(outcome, np.full((8, 8, 1), 7))
    assert len(thread_jobs) == count


async def test_an_image_with_many_scans_is_decoded_by_a_thread(decoder: Decoder, thread_jobs: list[object]) -> None:
    [pixels] = await decoder.decode([multi_scan_jpeg(128, 45)], (1, 8, 8), STRETCH)
    assert isinstance(pixels, np.ndarray)
    assert len(thread_jobs) == 1


async def test_an_image_with_too_many_scans_is_too_large(decoder: Decoder) -> None:
    [error] = await decoder.decode([multi_scan_jpeg(16, 101)], (1, 8, 8), STRETCH)
    assert isinstance(error, TooLarge)
    assert error.extra["code"] == "image_too_complex"


async def test_too_many_images_are_rejected_as_overload(decoder: Decoder) -> None:
    with pytest.raises(Overloaded):
        await decoder.decode([b""] * 9, (1, 8, 8), STRETCH)
    assert len(await decoder.decode([b""] * 8, (1, 8, 8), STRETCH)) == 8


async def test_a_cancelled_caller_frees_its_capacity(decoder: Decoder) -> None:
    task = asyncio.create_task(decoder.decode([b""] * 8, (1, 8, 8), STRETCH))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(await decoder.decode([b""] * 8, (1, 8, 8), STRETCH)) == 8


COLOURS = np.arange(12).reshape(2, 2, 3)


@pytest.mark.parametrize("numbers", [COLOURS.tolist(), COLOURS.ravel().tolist(), (COLOURS + 0.2).tolist()])
def test_pixel_values_are_nested_or_flat(numbers: list[object]) -> None:
    np.testing.assert_array_equal(parse_pixel_values(PixelValues(numbers), (3, 2, 2)), COLOURS)


@pytest.mark.parametrize(
    "numbers",
    [[], None, [1], [[1, 2], [3]], [[1, 2], [3, "4"]], [[1, 2], [3, None]], [[1, 2], [3, 256]], [[1, 2], [3, -1]],
     [[1, 2], [3, float("nan")]], [[True, False], [True, True]], [[1, 2], [3, 10**30]], [[[[1]]]],
     [["a", "b"], ["c", "d"]], {"a": 1}, [[1, 2], [3, {}]]],
)  # fmt: skip
def test_other_values_are_an_invalid_image(numbers: object) -> None:
    with pytest.raises(InvalidImage):
        parse_pixel_values(PixelValues(numbers), (1, 2, 2))


@pytest.mark.parametrize(
    "numbers",
    [
        (COLOURS / 11).tolist(),
        (COLOURS / 11).ravel().tolist(),
        (COLOURS / 11 * 1.07).tolist(),  # bicubic interpolation exceeds the range
        (COLOURS > 5).astype(float).tolist(),  # black and white
        np.full((2, 2, 3), 0.4).tolist(),
        np.full((2, 2, 3), 1e-9).tolist(),
        [0.5, *[0] * 11],
    ],
)
def test_pixels_that_were_scaled_to_1_are_invalid(numbers: list[object]) -> None:
    with pytest.raises(InvalidImage, match="multiply the values by 255"):
        parse_pixel_values(PixelValues(numbers), (3, 2, 2))


@pytest.mark.parametrize("numbers", [(COLOURS > 5).astype(int).tolist(), np.zeros((2, 2, 3)).tolist()])
def test_dark_images_are_valid(numbers: list[object]) -> None:
    np.testing.assert_array_equal(parse_pixel_values(PixelValues(numbers), (3, 2, 2)), numbers)


async def test_random_bytes_are_a_service_error(decoder: Decoder) -> None:
    inputs = [bytes([n]) * n for n in range(8)]
    assert all(isinstance(one, ServiceError) for one in await decoder.decode(inputs, (3, 8, 8), STRETCH))


async def test_the_bytes_of_decoded_images_are_limited(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    body = png(np.zeros((4, 4), np.uint8))
    monkeypatch.setattr(decoding, "MAX_INLINE_IMAGES", 0)  # images decoded on the event loop do not wait
    monkeypatch.setattr(decoding, "MAX_DECODED_BYTES", 3 * 64)
    with pytest.raises(TooLarge, match="has 4 images; at most 3 of the model's input size"):
        await decoder.decode([body] * 4, (1, 8, 8), STRETCH)
    with pytest.raises(TooLarge, match="has 2 images; at most 1 of the model's input size"):
        await decoder.decode([body] * 2, (1, 8, 8), STRETCH, num_views=2)
    task = asyncio.create_task(decoder.decode([body] * 2, (1, 8, 8), STRETCH))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="Too many large images"):
        await decoder.decode([body] * 2, (1, 8, 8), STRETCH)
    assert len(await task) == 2
    assert len(await decoder.decode([body] * 3, (1, 8, 8), STRETCH)) == 3


async def test_small_files_of_large_inputs_are_decoded_in_threads(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def decode_file(_body: bytes, image_shape: tuple[int, ...], _resize: Any) -> np.ndarray:
        names.append(threading.current_thread().name)
        return np.zeros(image_shape, np.uint8)

    monkeypatch.setattr(decoder, "_decode_file", decode_file)
    body = png(np.zeros((4, 4), np.uint8))
    await decoder.decode([body], (3, 512, 512), STRETCH)
    assert not names
    await decoder.decode([body], (3, 512, 513), STRETCH)
    assert names[0].startswith("decode")
