"""Changes inputs at random: bytes, JSON documents, and the content of formats with checksums."""

import copy
import gzip
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import orjson

INTERESTING_BYTES = (0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x0D, 0x20, 0x22, 0x2C, 0x2D, 0x3A, 0x5B, 0x7B)
INTERESTING_INTEGERS = (0, 1, 127, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)
INTERESTING_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    0.5,
    -0.0,
    1e308,
    5e-324,
    1e-45,
    2**31,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    "",
    "a",
    "0",
    "1e999",
    "nan",
    "\ud7ff",
    "é",
    "\u202e",
    "a/b",
    "~",
    "..",
    "=1+1",
    "x" * 300,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"name": "adam"},
)
_MAX_NESTED_BYTES = 2**18
_MAX_DEPTH = 40
_TAR_BLOCK, _TAR_CHECKSUM = 512, slice(148, 156)
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def mutate_bytes(body: bytes, rng: random.Random, tokens: Sequence[bytes] = (), others: Sequence[bytes] = ()) -> bytes:
    """Apply one to four random changes. `others` are inputs from which blocks are copied."""
    changed = bytearray(body)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(_BYTE_MUTATIONS)(changed, rng)
        if tokens and rng.random() < 0.2:
            _insert(changed, rng, rng.choice(tokens))
        if others and rng.random() < 0.05:
            _insert(changed, rng, _copy_block(rng.choice(others), rng))
    return bytes(changed)


def _flip_bit(body: bytearray, rng: random.Random) -> None:
    if body:
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)


def _set_byte(body: bytearray, rng: random.Random) -> None:
    if body:
        body[rng.randrange(len(body))] = rng.choice((*INTERESTING_BYTES, rng.randrange(256)))


def _set_integer(body: bytearray, rng: random.Random) -> None:
    size = rng.choice((2, 4, 8))
    if len(body) >= size:
        at = rng.randrange(len(body) - size + 1)
        value = rng.choice(INTERESTING_INTEGERS) % 2 ** (8 * size)
        body[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _set_digits(body: bytearray, rng: random.Random) -> None:
    starts = [at for at, byte in enumerate(body[:4096]) if 0x30 <= byte <= 0x39]
    if starts:
        start = end = rng.choice(starts)
        while end < len(body) and 0x30 <= body[end] <= 0x39:
            end += 1
        body[start:end] = str(rng.choice((*INTERESTING_INTEGERS, -1, 10**30))).encode()


def _delete_block(body: bytearray, rng: random.Random) -> None:
    start, end = _pick_range(body, rng)
    del body[start:end]


def _duplicate_block(body: bytearray, rng: random.Random) -> None:
    start, end = _pick_range(body, rng)
    body[start:start] = body[start:end] * rng.choice((1, 1, 2, 8))


def _move_block(body: bytearray, rng: random.Random) -> None:
    start, end = _pick_range(body, rng)
    block = body[start:end]
    del body[start:end]
    _insert(body, rng, bytes(block))


def _truncate(body: bytearray, rng: random.Random) -> None:
    del body[rng.randrange(len(body) + 1) :]


def _insert_random(body: bytearray, rng: random.Random) -> None:
    _insert(body, rng, rng.randbytes(rng.choice((1, 1, 2, 4, 16))))


_BYTE_MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip_bit,
    _flip_bit,
    _set_byte,
    _set_byte,
    _set_integer,
    _set_digits,
    _delete_block,
    _duplicate_block,
    _move_block,
    _truncate,
    _insert_random,
)


def _insert(body: bytearray, rng: random.Random, block: bytes) -> None:
    at = rng.randrange(len(body) + 1)
    if rng.random() < 0.5:
        body[at:at] = block
    else:
        body[at : at + len(block)] = block


def _copy_block(body: bytes, rng: random.Random) -> bytes:
    start, end = _pick_range(body, rng)
    return body[start:end]


def _pick_range(body: bytes | bytearray, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(body) + 1)
    return start, start + min(len(body) - start, rng.choice((1, 2, 4, 16, 64, 512, 4096)))


def mutate_json(body: bytes, rng: random.Random) -> bytes | None:
    """Replace, remove, duplicate or move values of a JSON document. Return None if the input is not JSON."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    for _ in range(rng.choice((1, 1, 2, 3))):
        document = _change_value(document, rng)
    try:
        return orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, orjson.JSONEncodeError):
        return None


def _change_value(value: Any, rng: random.Random, depth: int = 0) -> Any:
    if isinstance(value, dict | list) and value and depth < _MAX_DEPTH and rng.random() < 0.85:
        return _change_object(value, rng, depth) if isinstance(value, dict) else _change_array(value, rng, depth)
    match rng.randrange(8):
        case 0:
            return [value] * rng.choice((1, 2, 3, 30))
        case 1:
            return {rng.choice(("name", "kind", "a", "")): value}
        case 2 if isinstance(value, int | float) and not isinstance(value, bool):
            return -value
        case 3 if isinstance(value, str):
            return value * rng.choice((0, 2, 100)) if len(value) < 100 else value[:1]
        case _:
            return copy.deepcopy(rng.choice(INTERESTING_VALUES))


def _change_object(members: dict[str, Any], rng: random.Random, depth: int) -> dict[str, Any]:
    key = rng.choice(list(members))
    match rng.randrange(12):
        case 0:
            del members[key]
        case 1:
            members[key + rng.choice(("", "/", "~", " ", "x"))] = rng.choice(list(members.values()))
        case _:
            members[key] = _change_value(members[key], rng, depth + 1)
    return members


def _change_array(values: list[Any], rng: random.Random, depth: int) -> list[Any]:
    index = rng.randrange(len(values))
    match rng.randrange(12):
        case 0:
            del values[index]
        case 1:
            values[index:index] = [values[index]] * rng.choice((1, 2, 50))
        case _:
            values[index] = _change_value(values[index], rng, depth + 1)
    return values


def mutate_gzip(body: bytes, rng: random.Random, change: Callable[[bytes, random.Random], bytes]) -> bytes | None:
    """Change the content of a gzip file, and compress it again. Return None if the input is not a gzip file."""
    stream = zlib.decompressobj(31)
    try:
        content = stream.decompress(body, _MAX_NESTED_BYTES)
    except zlib.error:
        return None
    return gzip.compress(change(content, rng), rng.choice((1, 9)), mtime=0)


def mutate_tar(body: bytes, rng: random.Random) -> bytes:
    """Change bytes or whole blocks of a tar archive, and correct the checksums of its headers."""
    if rng.random() < 0.3 and len(body) >= 2 * _TAR_BLOCK:
        blocks = [body[at : at + _TAR_BLOCK] for at in range(0, len(body), _TAR_BLOCK)]
        source, target = rng.randrange(len(blocks)), rng.randrange(len(blocks))
        blocks.insert(target, blocks[source] if rng.random() < 0.5 else blocks.pop(source))
        return fix_tar_checksums(b"".join(blocks))
    changed = bytearray(body)
    if rng.random() < 0.5 and len(body) >= _TAR_BLOCK:  # a field of the first header or of another block
        start = rng.randrange(len(body) // _TAR_BLOCK) * _TAR_BLOCK
        offset, size = rng.choice(((0, 100), (100, 8), (124, 12), (156, 1), (157, 100), (257, 8), (345, 155)))
        field = rng.choice(
            (b"\0", b"/", b"../a", b"\xff", b"5", b"x", b"g", b"L", b"S", b"7" * size, b"\x80" + b"\1" * 11)
        )
        changed[start + offset : start + offset + min(size, len(field))] = field[:size]
        return fix_tar_checksums(bytes(changed))
    return fix_tar_checksums(mutate_bytes(body, rng))


def fix_tar_checksums(body: bytes) -> bytes:
    """Return the archive with the checksum of every block that looks like a header."""
    fixed = bytearray(body)
    for start in range(0, len(fixed) - _TAR_BLOCK + 1, _TAR_BLOCK):
        if fixed[start + 257 : start + 262] == b"ustar":
            block = fixed[start : start + _TAR_BLOCK]
            block[_TAR_CHECKSUM] = b" " * 8
            block[_TAR_CHECKSUM] = b"%06o\0 " % sum(block)
            fixed[start : start + _TAR_BLOCK] = block
    return bytes(fixed)


def mutate_image(body: bytes, rng: random.Random) -> bytes:
    """Change bytes of an image file. Half of the time, correct the checksums of a PNG."""
    changed = mutate_bytes(body, rng)
    return fix_png_checksums(changed) if rng.random() < 0.5 else changed


def fix_png_checksums(body: bytes) -> bytes:
    """Return the file with the checksum of every PNG chunk."""
    if not body.startswith(_PNG_SIGNATURE):
        return body
    fixed, at = bytearray(body), len(_PNG_SIGNATURE)
    while at + 12 <= len(fixed):
        end = at + 8 + int.from_bytes(fixed[at : at + 4], "big")
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = struct.pack(">I", zlib.crc32(fixed[at + 4 : end]))
        at = end + 4
    return bytes(fixed)
