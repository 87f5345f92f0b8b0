"""Writes text of any script into response headers, which are ASCII."""

from urllib.parse import quote

_ATTRIBUTE_CHARACTERS = "!#$&+-.^_`|~"
"""The characters besides letters and digits that RFC 8187 leaves unencoded."""


def encode_header_text(text: str) -> str:
    """Return the text as percent-encoded UTF-8, as `encodeURIComponent` of JavaScript does."""
    return quote(text, safe="!'()*~", errors="replace")


def build_attachment(file_name: str) -> str:
    """Return a value of `Content-Disposition` that makes a browser store the response under this name.

    A name with other characters than printable ASCII is also sent as `filename*`. Source: RFC 6266 and RFC 8187.
    """
    is_plain = file_name.isascii() and file_name.isprintable() and not set(file_name) & set('"\\%')
    if is_plain:
        return f'attachment; filename="{file_name}"'
    plain = "".join(each if each.isascii() and each.isprintable() and each not in '"\\%' else "_" for each in file_name)
    encoded = quote(file_name, safe=_ATTRIBUTE_CHARACTERS, errors="replace")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
