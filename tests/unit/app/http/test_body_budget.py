"""The total size of request bodies in memory has a limit."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from app.http.body_budget import MANY_BYTES, SLOW_AFTER_S, BodyBudget, BufferedBody
from app.http.middleware import SMALL_BODY_BYTES, BodySizeLimitMiddleware
from tests.support.fakes import Clock

LIMIT = 100


@pytest.fixture
def budget(clock: Clock) -> BodyBudget:
    return BodyBudget(LIMIT, clock)


def build_message(num_bytes: int, *, more_body: bool = True) -> Message:
    return {"type": "http.request", "body": bytes(num_bytes), "more_body": more_body}


def open_body(budget: BodyBudget, num_bytes: int, *, more_body: bool = True) -> BufferedBody:
    body = budget.open_body()
    body.count(build_message(num_bytes, more_body=more_body))
    return body


async def wait_forever() -> Message:
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


def test_bodies_up_to_the_limit_are_accepted(budget: BodyBudget) -> None:
    open_body(budget, LIMIT - 1)
    open_body(budget, 1)
    assert budget.num_bytes == LIMIT


def test_a_body_that_exceeds_the_rest_is_rejected(budget: BodyBudget) -> None:
    open_body(budget, LIMIT)
    with pytest.raises(HTTPException) as raised:
        open_body(budget, 1)
    assert raised.value.status_code == 503
    assert raised.value.headers is not None
    assert raised.value.headers["Retry-After"] == "1"


def test_a_single_body_may_exceed_the_limit(budget: BodyBudget) -> None:
    open_body(budget, LIMIT + 1)
    assert budget.num_bytes == LIMIT + 1


def test_a_closed_body_makes_room(budget: BodyBudget) -> None:
    body = open_body(budget, LIMIT)
    body.close()
    body.close()
    open_body(budget, LIMIT)
    assert budget.num_bytes == LIMIT


async def test_a_slow_body_is_rejected_instead_of_a_new_one(budget: BodyBudget, clock: Clock) -> None:
    slow = open_body(budget, LIMIT)
    receiving = asyncio.create_task(slow.receive(wait_forever))
    await asyncio.sleep(0)
    clock.now += SLOW_AFTER_S
    open_body(budget, LIMIT)
    with pytest.raises(HTTPException):
        await receiving
    assert budget.num_bytes == LIMIT


async def test_a_rejected_body_receives_nothing_more(budget: BodyBudget, clock: Clock) -> None:
    slow = open_body(budget, LIMIT)
    clock.now += SLOW_AFTER_S
    open_body(budget, LIMIT)
    with pytest.raises(HTTPException):
        await slow.receive(wait_forever)


def test_a_complete_body_is_not_rejected_however_long_its_request_takes(budget: BodyBudget, clock: Clock) -> None:
    open_body(budget, LIMIT, more_body=False)
    clock.now += SLOW_AFTER_S
    with pytest.raises(HTTPException):
        open_body(budget, 1)


def test_memory_is_released_after_the_last_of_many_large_bodies() -> None:
    calls: list[None] = []
    budget = BodyBudget(2 * MANY_BYTES, on_idle=lambda: calls.append(None))
    open_body(budget, LIMIT).close()
    first, last = open_body(budget, MANY_BYTES), open_body(budget, LIMIT)
    first.close()
    assert calls == []
    last.close()
    assert len(calls) == 1


class TestMiddleware:
    """A request through the middleware, next to a body that needs the whole budget."""

    async def send_request(self, budget: BodyBudget, messages: Sequence[Message], *, is_streamed: bool = False) -> None:
        async def read_body(_: Any, receive: Receive, send: Any) -> None:
            while (await receive())["more_body"]:
                pass

        async def send(_: Message) -> None: ...

        waiting = iter(messages)

        async def receive() -> Message:
            return next(waiting)

        middleware = BodySizeLimitMiddleware(read_body, lambda _: 2**30, lambda _: is_streamed, budget)
        await middleware({"type": "http", "path": "/", "headers": []}, receive, send)

    async def test_a_large_body_is_rejected(self, budget: BodyBudget) -> None:
        other = open_body(budget, LIMIT)
        messages = [build_message(SMALL_BODY_BYTES), build_message(1), build_message(1, more_body=False)]
        with pytest.raises(HTTPException):
            await self.send_request(budget, messages)
        assert budget.num_bytes == other.num_bytes

    async def test_a_small_body_is_accepted(self, budget: BodyBudget) -> None:
        open_body(budget, LIMIT)
        await self.send_request(budget, [build_message(SMALL_BODY_BYTES, more_body=False)])

    async def test_an_upload_is_accepted(self, budget: BodyBudget) -> None:
        open_body(budget, LIMIT)
        await self.send_request(budget, [build_message(2**20, more_body=False)], is_streamed=True)

    async def test_a_request_makes_room_at_its_end(self, budget: BodyBudget) -> None:
        await self.send_request(budget, [build_message(2**20), build_message(1, more_body=False)])
        assert budget.num_bytes == 0
