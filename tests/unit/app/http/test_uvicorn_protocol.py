"""Head and body of a response are sent together; a head without a body is sent too; the order is kept."""

import asyncio
from typing import cast

import pytest

from app.http.uvicorn_protocol import CoalescingTransport


class Transport:
    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.packets.append(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def get_extra_info(self, name: str) -> str:
        return f"its {name}"


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
async def wire(transport: Transport) -> CoalescingTransport:
    return CoalescingTransport(cast("asyncio.Transport", transport), asyncio.get_running_loop())


async def test_head_and_body_are_one_packet(wire: CoalescingTransport, transport: Transport) -> None:
    for _ in range(2):
        wire.write(b"head ")
        wire.write(b"body")
    assert transport.packets == [b"head body", b"head body"]
    await asyncio.sleep(0)
    assert transport.packets == [b"head body", b"head body"]


async def test_a_head_alone_is_sent_in_the_next_loop_iteration(wire: CoalescingTransport, transport: Transport) -> None:
    wire.write(b"head")
    assert transport.packets == []
    await asyncio.sleep(0)
    assert transport.packets == [b"head"]


async def test_a_stream_keeps_its_order(wire: CoalescingTransport, transport: Transport) -> None:
    for number in range(7):
        wire.write(b"%d" % number)
        if number % 3 == 0:
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert b"".join(transport.packets) == b"0123456"


async def test_closing_flushes_the_buffer(wire: CoalescingTransport, transport: Transport) -> None:
    wire.write(b"head")
    wire.close()
    assert transport.packets == [b"head"]
    assert transport.is_closed
    await asyncio.sleep(0)
    assert transport.packets == [b"head"]


async def test_nothing_is_sent_to_a_closed_connection(wire: CoalescingTransport, transport: Transport) -> None:
    wire.write(b"head")
    transport.is_closed = True
    await asyncio.sleep(0)
    wire.close()
    assert transport.packets == []


async def test_an_empty_body_adds_nothing(wire: CoalescingTransport, transport: Transport) -> None:
    wire.write(b"head")
    wire.write(b"")
    assert transport.packets == [b"head"]
    wire.write(b"")
    await asyncio.sleep(0)
    assert transport.packets == [b"head"]


async def test_other_attributes_are_delegated(wire: CoalescingTransport) -> None:
    assert wire.get_extra_info("socket") == "its socket"
