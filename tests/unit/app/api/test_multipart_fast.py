"""Simple multipart forms are parsed, and all others are not."""

import httpx
import pytest

from app.api.multipart_fast import parse_simple_multipart

FORM = "multipart/form-data; boundary=x-1"
IMAGE = b"\x89PNG\r\n--x\r\n--\r\n\r\n"
HEAD = b'Content-Disposition: form-data; name="images"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'


def form(*parts: bytes, end: bytes = b"--\r\n") -> bytes:
    return b"".join(b"--x-1\r\n" + part + b"\r\n" for part in parts) + b"--x-1" + end


def test_the_form_of_httpx_is_simple() -> None:
    files = [("images", ("a.png", IMAGE, "image/png")), ("images", ("b", b"", "image/jpeg"))]
    sent = httpx.Request("POST", "http://x/", files=files)
    assert parse_simple_multipart(sent.read(), sent.headers["content-type"], "images", 2) == [IMAGE, b""]


@pytest.mark.parametrize("end", [b"--\r\n", b"--"])
def test_files_are_returned_unchanged(end: bytes) -> None:
    assert parse_simple_multipart(form(HEAD + IMAGE, HEAD + b"\r\n", end=end), FORM, "images", 2) == [IMAGE, b"\r\n"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x-1--\r\n",
        b"before\r\n" + form(HEAD + IMAGE),
        form(HEAD + IMAGE, end=b""),
        form(HEAD + IMAGE, end=b"--\r\nafter"),
        form(HEAD + IMAGE, HEAD + IMAGE, HEAD + IMAGE),
        form(HEAD.replace(b"images", b"image") + IMAGE),
        form(HEAD.replace(b'; filename="a.png"', b"") + IMAGE),
        form(HEAD.replace(b"a.png", b'a\\".png') + IMAGE),
        form(HEAD.replace(b"Content-Type: image/png", b"Content-Transfer-Encoding: base64") + IMAGE),
        form(IMAGE),
    ],
)
def test_other_forms_are_not_parsed(body: bytes) -> None:
    assert parse_simple_multipart(body, FORM, "images", 2) is None


@pytest.mark.parametrize("content_type", ["multipart/form-data", 'multipart/form-data; boundary="x-1"', "text/plain"])
def test_forms_with_other_boundaries_are_not_parsed(content_type: str) -> None:
    assert parse_simple_multipart(form(HEAD + IMAGE), content_type, "images", 2) is None
