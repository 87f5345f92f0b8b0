"""Mutations are deterministic and keep the structure of formats with checksums."""

import gzip
import random
import tarfile
import zlib

import orjson
import pytest

from tests.fuzz import mutations
from tests.support.hostile_archives import tar_header
from tests.support.images import random_png


@pytest.mark.parametrize("body", [b"", b"a", bytes(range(256)), b"12,34\n" * 100])
def test_equal_seeds_make_equal_changes(body: bytes) -> None:
    changes = [mutations.mutate_bytes(body, random.Random(7), [b"token"], [b"other"]) for _ in range(2)]
    assert changes[0] == changes[1]
    assert len({mutations.mutate_bytes(body, random.Random(seed)) for seed in range(100)}) > 10


def test_a_changed_document_is_json() -> None:
    rng = random.Random(1)
    body = b'{"a":[1,2,{"b":"c"}],"d":null}'
    changed = {mutations.mutate_json(body, rng) for _ in range(200)}
    assert len(changed - {None}) > 50
    for document in changed - {None}:
        orjson.loads(document or b"")
    assert mutations.mutate_json(b"{", rng) is None


def test_the_values_that_are_inserted_are_not_changed() -> None:
    before = orjson.dumps(mutations.INTERESTING_VALUES)
    rng = random.Random(1)
    body = b'{"a":{}}'
    for _ in range(500):
        body = mutations.mutate_json(body, rng) or b'{"a":{}}'
        body = body if len(body) < 10_000 else b'{"a":{}}'
    assert orjson.dumps(mutations.INTERESTING_VALUES) == before


def test_headers_of_a_changed_tar_have_valid_checksums() -> None:
    header = bytearray(tar_header("a/b.png", 5))
    header[0:1] = b"z"
    fixed = mutations.fix_tar_checksums(bytes(header))
    assert tarfile.TarInfo.frombuf(fixed, "utf-8", "strict").name == "z/b.png"


def test_chunks_of_a_changed_png_have_valid_checksums() -> None:
    png = random_png(1)
    damaged = bytearray(png)
    damaged[29] ^= 1
    assert mutations.fix_png_checksums(bytes(damaged)) == png


def test_the_content_of_a_gzip_file_is_changed() -> None:
    changed = mutations.mutate_gzip(gzip.compress(b"abc"), random.Random(1), lambda body, _: body + b"d")
    assert zlib.decompress(changed or b"", 31) == b"abcd"
    assert mutations.mutate_gzip(b"no gzip", random.Random(1), lambda body, _: body) is None
