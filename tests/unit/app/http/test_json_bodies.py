"""The number of values is counted before a document is parsed, and large documents are parsed one at a time."""

import asyncio
import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http import json_bodies
from app.http.json_bodies import LargeBodyParser, check_num_values, is_quick_to_parse
from core.errors import Overloaded, TooLarge
from tests.support import hostile_json

TEXT = st.text(st.sampled_from('ab,:[]{}"\\\n\u00e9'), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda children: st.lists(children, max_size=5) | st.dictionaries(TEXT, children, max_size=5),
    max_leaves=30,
)


def count_exactly(value: Any) -> int:
    """Count the values and keys of a parsed document."""
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(count_exactly, value.values()))
    return 1 + (sum(map(count_exactly, value)) if isinstance(value, list) else 0)


@given(JSON)
def test_the_count_is_never_below_the_number_of_values_and_keys(document: Any) -> None:
    body, num_values = json.dumps(document, ensure_ascii=False).encode(), count_exactly(document)
    if num_values > 1:
        with pytest.raises(TooLarge) as raised:
            check_num_values(body, num_values - 1)
        assert num_values <= raised.value.extra["num_values"] <= 2 * num_values


@pytest.mark.parametrize("kind", hostile_json.VALUES)
def test_every_kind_of_value_is_counted(kind: str) -> None:
    body = hostile_json.build_instances(hostile_json.VALUES[kind](2000))
    with pytest.raises(
        TooLarge, match=r"has \d+ values and keys; at most 1000 are accepted here. Send less."
    ) as raised:
        check_num_values(body, 1000, "Send less.")
    assert raised.value.extra["num_values"] > 2000
    check_num_values(body, 20_000)


@pytest.mark.parametrize("text", ["," * 5000, "[{:," * 1000, '\\"' * 3000 + ",", "\\" * 5000 + ",,,", '\\",\\"' * 2000])
def test_characters_in_strings_are_not_values(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_bodies, "_CHUNK_BYTES", 1000)  # strings continue in the next chunk
    check_num_values(json.dumps({"text": text, "other": [1, text]}).encode(), 20)


def test_bytes_after_a_string_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_bodies, "_CHUNK_BYTES", 64)
    body = json.dumps(["\\", '"', "," * 500, *range(1000)]).encode()
    with pytest.raises(TooLarge, match="has 1004 values"):
        check_num_values(body, 1000)


def test_a_small_body_with_few_values_is_quick_to_parse() -> None:
    assert is_quick_to_parse(b"[]" * 100)
    assert is_quick_to_parse(b'"' + b"A" * 200_000 + b'"')
    assert not is_quick_to_parse(b'"' + b"A" * 300_000 + b'"')
    assert not is_quick_to_parse(hostile_json.repeat(b"[]", 20_000))


def test_large_bodies_are_parsed_one_at_a_time_in_their_own_thread() -> None:
    threads, most, running = set[str](), 0, 0

    def parse() -> int:
        nonlocal most, running
        running += 1
        most = max(most, running)
        threads.add(threading.current_thread().name)
        result = sum(range(10_000))
        running -= 1
        return result

    async def run_many() -> list[int]:
        parser = LargeBodyParser("test")
        return await asyncio.gather(*[parser.run(parse) for _ in range(20)])

    assert asyncio.run(run_many()) == [sum(range(10_000))] * 20
    assert most == 1
    assert threads == {"parse-test_0"}


def test_too_many_waiting_bodies_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_bodies, "MAX_WAITING", 2)
    may_end = threading.Event()

    async def run_many() -> list[Any]:
        parser = LargeBodyParser("test")
        first = [asyncio.create_task(parser.run(may_end.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="wait to be parsed"):
            await parser.run(may_end.wait)
        may_end.set()
        await asyncio.gather(*first)
        return [await parser.run(lambda: "parsed")]

    assert asyncio.run(run_many()) == ["parsed"]


def test_an_error_of_a_parser_is_raised() -> None:
    async def run() -> None:
        await LargeBodyParser("test").run(lambda: json.loads("{"))

    with pytest.raises(json.JSONDecodeError):
        asyncio.run(run())
