"""The target that decompresses request bodies with one or two content codings."""

import asyncio
import random
from collections.abc import Iterable

from starlette.exceptions import HTTPException
from starlette.types import Message

from app.http.body_budget import BodyBudget
from app.http.content_codings import CODINGS, compress
from app.http.content_decoding import DecodedBody
from tests.fuzz.mutations import mutate_bytes
from tests.fuzz.target import FuzzTarget
from tests.fuzz.targets.errors import check_problem, run_coroutine

LIMIT = 2**18
PLAIN = b'{"instances": [{"values": [[0, 128], [255, 64]]}]}'
STACKS = [[coding] for coding in CODINGS] + [[inner, outer] for inner in CODINGS for outer in CODINGS]


def decode_body(body: bytes) -> None:
    """Decompress an input. Its first byte selects the codings. The body arrives in chunks of different sizes.

    How the body is divided must not change the result.
    """
    if not body:
        return
    codings = STACKS[body[0] % len(STACKS)]
    results = {run_coroutine(_decode(body[1:], codings, size)) for size in (7, 2**16) if len(body) < 2000 * size}
    assert len(results) == 1, "the result depends on the chunks"


async def _decode(body: bytes, codings: list[str], chunk_bytes: int) -> bytes | None:
    """Return the decompressed body, or None if it is rejected."""
    chunks = [body[start : start + chunk_bytes] for start in range(0, len(body), chunk_bytes)] or [b""]

    async def receive() -> Message:
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    decoded, pieces = DecodedBody(codings, LIMIT, receive, BodyBudget(2**30)), list[bytes]()
    try:
        while True:
            await asyncio.sleep(0)
            message = await decoded.receive()
            pieces.append(message["body"])
            if sum(map(len, pieces)) > LIMIT:
                return None  # the layer behind it rejects the body
            if not message["more_body"]:
                return b"".join(pieces)
    except HTTPException as error:
        check_problem(error)
        return None
    finally:
        decoded.close()


def _encode(content: bytes, selector: int) -> bytes:
    for coding in STACKS[selector]:
        content = compress(content, coding)
    return bytes([selector]) + content


def build_bodies() -> Iterable[bytes]:
    """Return valid bodies and decompression bombs, in every coding and in two at once."""
    for selector in range(len(STACKS)):
        yield _encode(PLAIN, selector)
        yield _encode(bytes(LIMIT * 4), selector)
        yield _encode(b"", selector)[:-1]


def mutate_stack(body: bytes, rng: random.Random) -> bytes | None:
    """Change the content between two codings, so that the outer one stays valid."""
    if not body or len(codings := STACKS[body[0] % len(STACKS)]) == 1:
        return None
    inner = compress(PLAIN * rng.choice((1, 100, 10_000)), codings[0])
    return body[:1] + compress(mutate_bytes(inner, rng), codings[1])


TARGETS = {"content_coding": FuzzTarget(decode_body, build_bodies, mutate_stack)}
