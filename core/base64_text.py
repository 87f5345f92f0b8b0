"""Decodes base64 as clients write it: URL-safe, without padding, with line breaks or a `data:` prefix."""

import binascii
import re

MAX_HEAD = 200
_DATA_URL = re.compile(rb"data:([^,]*),", re.IGNORECASE)
_WHITESPACE = b" \t\r\n\f\v"
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_FOREIGN = re.compile(r"[^A-Za-z0-9+/=\s]", re.ASCII)


class InvalidBase64(ValueError):
    """The text is not base64; the message says why, without a subject."""


def decode_base64(text: str | bytes) -> bytes:
    """Return the bytes that a text encodes.

    Raises:
        InvalidBase64: the text is empty, has another character, or its length or its padding is wrong.
    """
    encoded = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        content = binascii.a2b_base64(encoded, strict_mode=True)  # the canonical form, without copies
    except binascii.Error:
        content = b""
    if not content or encoded.endswith(b"==="):  # Python accepts four and more characters of padding
        return _decode_leniently(encoded)
    return content


def _decode_leniently(encoded: bytes) -> bytes:
    body, offset = _remove_prefix(encoded)
    digits = body.translate(None, _WHITESPACE)
    if not digits:
        raise InvalidBase64("is empty")
    is_url_safe = b"-" in digits or b"_" in digits
    if is_url_safe and (b"+" in digits or b"/" in digits):
        raise InvalidBase64("mixes the characters '+' and '/' of standard base64 with '-' and '_' of URL-safe base64")
    if is_url_safe:
        digits, body = digits.translate(_TO_STANDARD), body.translate(_TO_STANDARD)
    if digits.translate(None, _ALPHABET):
        raise InvalidBase64(_describe_foreign(body, offset))
    plain = digits.rstrip(b"=")
    num_padding = len(digits) - len(plain)
    if b"=" in plain:
        raise InvalidBase64("has '=' before its end")
    if not plain or len(plain) % 4 == 1 or (num_padding and (len(digits) % 4 or num_padding > 2)):
        raise InvalidBase64(f"has {len(plain)} base64 characters and {num_padding} of padding: it is truncated")
    return binascii.a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True)


def _remove_prefix(encoded: bytes) -> tuple[bytes, int]:
    """Return the text after a `data:` prefix, and the length of the prefix."""
    start = encoded[:MAX_HEAD].lstrip(_WHITESPACE)
    if start[:5].lower() != b"data:":
        return encoded, 0
    match = _DATA_URL.match(start)
    if match is None:
        raise InvalidBase64("starts with 'data:', but has no comma after the media type")
    if match[1].rpartition(b";")[2].strip().lower() != b"base64":
        raise InvalidBase64("is a data URL without ';base64' before the comma")
    end = len(encoded[:MAX_HEAD]) - len(start) + match.end()
    return encoded[end:], end


def _describe_foreign(body: bytes, offset: int) -> str:
    """Describe the first character that is neither base64 nor whitespace, and its place in the text."""
    match = _FOREIGN.search(body.decode("utf-8", "replace"))
    if match is None:
        return "has another character"
    return f"has {match[0]!a} at character {offset + match.start() + 1}"
