"""Base64 is read in every usual form, and other text is refused with a reason."""

import base64
import textwrap
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.base64_text import InvalidBase64, decode_base64

PREFIXES = ("", "data:image/png;base64,", "DATA:image/svg+xml;charset=utf-8;Base64,", " data:;base64,")


def write_forms(content: bytes) -> list[str]:
    """Return every usual form of the base64 of some bytes."""
    forms = []
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(content).decode()
        for padded in (text, text.rstrip("=")):
            forms += [padded, f" {padded}\n", "\r\n".join(textwrap.wrap(padded, 5)), "\t".join(padded)]
    return [prefix + form for form in forms for prefix in PREFIXES]


@given(st.binary(min_size=1, max_size=50))
def test_every_form_gives_the_same_bytes(content: bytes) -> None:
    for form in write_forms(content):
        assert decode_base64(form) == content
        assert decode_base64(form.encode()) == content


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("data:image/png;base64,", "is empty"),
        ("no base64!", "has '!' at character 10"),
        ("data:image/png;base64,aGk*", "has '*' at character 26"),
        ("ünïcode", r"has '\\xfc' at character 1"),
        ("a\0bc", r"has '\\x00' at character 2"),
        ("\udcff", "has "),
        ("YQ=Q", "has '=' before its end"),
        ("=", "has 0 base64 characters and 1 of padding: it is truncated"),
        ("YWJjZ", "has 5 base64 characters and 0 of padding: it is truncated"),
        ("YQ=", "has 2 base64 characters and 1 of padding: it is truncated"),
        ("YWJj====", "has 4 base64 characters and 4 of padding: it is truncated"),
        ("ab-d+b==", "mixes the characters"),
        ("data:image/png,abcd", "is a data URL without ';base64'"),
        ("data:image/png;base64", "has no comma after the media type"),
        ("data:" + "x" * 300 + ";base64,YQ==", "has no comma after the media type"),
        ("http://example.com/cat.png", "has ':' at character 5"),
    ],
)
def test_other_text_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidBase64, match=reason.replace("*", r"\*")):
        decode_base64(text)


@given(st.text(max_size=30) | st.binary(max_size=30))
def test_any_text_is_decoded_or_refused(text: str | bytes) -> None:
    with suppress(InvalidBase64):
        assert decode_base64(text)
