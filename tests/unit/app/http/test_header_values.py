"""Text in response headers: percent-encoded UTF-8, and file names as RFC 6266 writes them."""

from email.message import Message
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http.header_values import build_attachment, encode_header_text

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(TEXT)
def test_text_in_a_header_is_ascii_and_decodes_to_the_same_text(text: str) -> None:
    encoded = encode_header_text(text)
    assert encoded.isascii()
    assert encoded.isprintable()
    assert not set(encoded) & set(' ",;')
    assert unquote(encoded) == text


@pytest.mark.parametrize(
    ("text", "encoded"),
    [("cat", "cat"), ("golden retriever", "golden%20retriever"), ("Kätzchen", "K%C3%A4tzchen"), ("100%", "100%25")],
)
def test_labels_are_encoded_as_by_javascript(text: str, encoded: str) -> None:
    assert encode_header_text(text) == encoded


@given(TEXT.filter(bool))
def test_a_file_name_is_read_back(name: str) -> None:
    value = build_attachment(name)
    assert value.isascii()
    assert value.isprintable()
    message = Message()
    message["Content-Disposition"] = value
    assert message.get_content_disposition() == "attachment"
    if "filename*=" in value:
        assert unquote(value.partition("filename*=UTF-8''")[2]) == name
    else:
        assert message.get_filename() == name


def test_a_plain_name_has_no_second_form() -> None:
    assert build_attachment("pets-1.zip") == 'attachment; filename="pets-1.zip"'
    expected = "attachment; filename=\"K_tze.zip\"; filename*=UTF-8''K%C3%A4tze.zip"
    assert build_attachment("Kätze.zip") == expected
