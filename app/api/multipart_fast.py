"""The quick way to read an ordinary form of pictures: whole in memory, each part a named file. It refuses nothing."""

import re

_BOUNDARY = re.compile(r"""multipart/form-data;[ ]?boundary=([0-9A-Za-z'()+_./:=?-]{1,70})""", re.IGNORECASE)
_HEAD = re.compile(
    rb'\r\nContent-Disposition: form-data; name="([^"\\\r\n]*)"; filename="[^"\\\r\n]*"'
    rb"(?:\r\nContent-(?:Type|Length): [^\r\n]*)*\r\n\r\n",
    re.IGNORECASE,
)


def parse_simple_multipart(body: bytes, content_type: str, field: str, most: int) -> list[bytes] | None:
    """The files of a form, all named `field`; None for whatever is not ordinary: the library's parser looks at that.

    What curl, browsers, httpx and requests send is ordinary. Source: RFC 7578, RFC 2046 section 5.1.
    """
    found = _BOUNDARY.fullmatch(content_type)
    if found is None:
        return None
    delimiter = b"--" + found[1].encode("ascii")
    first, *rest = body.split(b"\r\n" + delimiter)
    if not rest or rest.pop() not in (b"--\r\n", b"--") or not first.startswith(delimiter):
        return None
    parts = [first[len(delimiter) :], *rest]
    heads = [_HEAD.match(part) for part in parts]
    name = field.encode("ascii")
    if len(parts) > most or not all(head and head[1] == name for head in heads):
        return None
    return [part[head.end() :] for part, head in zip(parts, heads, strict=True) if head]
