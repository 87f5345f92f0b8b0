"""A fast parser for multipart forms whose body is in memory and whose parts are all files of one form field."""

import re

_BOUNDARY = re.compile(r"""multipart/form-data;[ ]?boundary=([0-9A-Za-z'()+_./:=?-]{1,70})""", re.IGNORECASE)
_PART_HEAD = re.compile(
    rb'\r\nContent-Disposition: form-data; name="([^"\\\r\n]*)"; filename="[^"\\\r\n]*"'
    rb"(?:\r\nContent-(?:Type|Length): [^\r\n]*)*\r\n\r\n",
    re.IGNORECASE,
)


def parse_simple_multipart(body: bytes, content_type: str, field: str, max_files: int) -> list[bytes] | None:
    """Return the files of a form in which every part is a file of the form field `field`, or None for all other forms.

    This function supports the forms that curl, browsers, httpx and requests send. It raises no errors. If it returns
    None, the caller must use a complete parser, which reports errors. Source: RFC 7578, RFC 2046 section 5.1.
    """
    match = _BOUNDARY.fullmatch(content_type)
    if match is None:
        return None
    delimiter = b"--" + match[1].encode("ascii")
    first, *rest = body.split(b"\r\n" + delimiter)
    if not rest or rest.pop() not in (b"--\r\n", b"--") or not first.startswith(delimiter):
        return None
    parts = [first[len(delimiter) :], *rest]
    heads = [_PART_HEAD.match(part) for part in parts]
    name = field.encode("ascii")
    if len(parts) > max_files or not all(head and head[1] == name for head in heads):
        return None
    return [part[head.end() :] for part, head in zip(parts, heads, strict=True) if head]
