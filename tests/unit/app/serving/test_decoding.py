"""From files and numbers to pixels; the formats themselves are tested with `core.images`."""

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.serving.decoding import Decoder, PixelValues, Sent, pixels_of
from core.errors import InvalidImage, Overloaded, ServiceError, TooLarge


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(max_waiting=8, max_bytes=10_000, max_pixels=20_000)
    yield decoder
    decoder.close()


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


async def test_each_image_has_its_own_outcome(decoder: Decoder) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    known = InvalidImage("no base64")
    sent: list[Sent] = [png(grey), b"no picture", PixelValues(grey.tolist()), known, b"x" * 10_001]
    outcomes = await decoder.decode(sent, (1, 8, 8), "stretch")
    np.testing.assert_array_equal(outcomes[0], grey[:, :, None])
    np.testing.assert_array_equal(outcomes[2], grey[:, :, None])
    assert isinstance(outcomes[1], InvalidImage)
    assert outcomes[3] is known
    assert isinstance(outcomes[4], TooLarge)


@pytest.fixture
def handed_on(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the decoder's threads were asked for."""
    asked: list[object] = []
    submit = decoder._threads.submit

    def heard(*work: Any) -> Any:
        asked.append(work)
        return submit(*work)

    monkeypatch.setattr(decoder._threads, "submit", heard)
    return asked


async def test_a_few_small_images_need_no_thread(decoder: Decoder, handed_on: list[object]) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    pixels, error = await decoder.decode([png(grey), b"no picture"], (1, 8, 8), "stretch")
    np.testing.assert_array_equal(pixels, grey[:, :, None])
    assert isinstance(error, InvalidImage)
    assert handed_on == []


@pytest.mark.parametrize(("count", "side"), [(1, 129), (5, 8)])
async def test_many_or_large_images_do_not_hold_the_event_loop_up(
    decoder: Decoder, handed_on: list[object], count: int, side: int
) -> None:
    flat = png(np.full((side, side), 7, np.uint8))
    outcomes = await decoder.decode([flat] * count, (1, 8, 8), "stretch")
    for outcome in outcomes:
        np.testing.assert_array_equal(outcome, np.full((8, 8, 1), 7))
    assert len(handed_on) == count


async def test_too_many_images_are_refused(decoder: Decoder) -> None:
    with pytest.raises(Overloaded):
        await decoder.decode([b""] * 9, (1, 8, 8), "stretch")
    assert len(await decoder.decode([b""] * 8, (1, 8, 8), "stretch")) == 8


async def test_a_caller_that_leaves_gives_its_room_back(decoder: Decoder) -> None:
    gone = asyncio.create_task(decoder.decode([b""] * 8, (1, 8, 8), "stretch"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert len(await decoder.decode([b""] * 8, (1, 8, 8), "stretch")) == 8


COLOURS = np.arange(12).reshape(2, 2, 3)


@pytest.mark.parametrize("numbers", [COLOURS.tolist(), COLOURS.ravel().tolist(), (COLOURS + 0.2).tolist()])
def test_numbers_are_pixels_by_rows_or_flat(numbers: list[object]) -> None:
    np.testing.assert_array_equal(pixels_of(PixelValues(numbers), (3, 2, 2)), COLOURS)


@pytest.mark.parametrize(
    "numbers",
    [[], None, [1], [[1, 2], [3]], [[1, 2], [3, "4"]], [[1, 2], [3, None]], [[1, 2], [3, 256]], [[1, 2], [3, -1]],
     [[1, 2], [3, float("nan")]], [[True, False], [True, True]], [[1, 2], [3, 10**30]], [[[[1]]]],
     [["a", "b"], ["c", "d"]], {"a": 1}, [[1, 2], [3, {}]]],
)  # fmt: skip
def test_other_numbers_are_refused(numbers: object) -> None:
    with pytest.raises(InvalidImage):
        pixels_of(PixelValues(numbers), (1, 2, 2))


async def test_no_kind_of_rubbish_is_a_bug(decoder: Decoder) -> None:
    sent = [bytes([n]) * n for n in range(8)]
    assert all(isinstance(one, ServiceError) for one in await decoder.decode(sent, (3, 8, 8), "stretch"))
