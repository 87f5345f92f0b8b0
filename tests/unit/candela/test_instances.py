"""Bodies of prediction requests."""

from pathlib import Path

import pytest

from candela.instances import build_image_body, build_images_body, build_instances_body, build_rows_body, set_timeout


def test_one_image_is_the_body_with_the_type_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"image")
    assert build_image_body(path) == {"content": b"image", "headers": {"Content-Type": "image/jpeg"}}
    assert build_images_body(b"image") == {"content": b"image", "headers": {"Content-Type": "image/png"}}


def test_several_images_are_parts(tmp_path: Path) -> None:
    assert build_images_body([b"a", b"b"]) == {"files": [("images", ("image-0", b"a")), ("images", ("image-1", b"b"))]}


@pytest.mark.parametrize(("top_k", "extra"), [(None, {}), (3, {"top_k": 3})])
def test_instances_and_rows_are_json(top_k: int | None, extra: dict[str, int]) -> None:
    assert build_instances_body([{"image": b"\x00"}], top_k) == {"json": {"instances": [{"image": "AA=="}], **extra}}
    assert build_rows_body([{"a": 1}], top_k) == {"json": {"rows": [{"a": 1}], **extra}}


def test_the_timeout_is_a_header_next_to_the_others() -> None:
    body = build_image_body(b"image")
    assert set_timeout(body, 0.5)["headers"] == {"Content-Type": "image/png", "X-Request-Timeout": "0.5"}
    assert set_timeout(body, None) is body
