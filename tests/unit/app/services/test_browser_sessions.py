"""Sessions end when they are idle, old, closed or without their key, for all processes of one database."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from app.services import browser_sessions
from app.services.browser_sessions import CACHE_S, BrowserSessions, compute_digest, get_key_id
from core.db.session import SessionFactory, transaction
from core.db.tables import BrowserSessionRow
from core.errors import Conflict, Unauthorized
from tests.support.fakes import Clock

Build = Callable[..., BrowserSessions]


@pytest.fixture
def build(sessions: SessionFactory, clock: Clock) -> Build:
    """The sessions of a process. Its cache has its own clock."""

    def build_sessions(*keys: str) -> BrowserSessions:
        return BrowserSessions(sessions, keys or ("first", "second"), idle_s=3600, lifetime_s=7200, clock=clock)

    return build_sessions


def age(sessions: SessionFactory, **seconds: float) -> None:
    """Make times of all sessions earlier by so many seconds."""
    with transaction(sessions) as session:
        for row in session.scalars(select(BrowserSessionRow)).all():
            values: dict[str, Any] = {
                name: getattr(row, name) - timedelta(seconds=value) for name, value in seconds.items()
            }
            session.execute(update(BrowserSessionRow).where(BrowserSessionRow.digest == row.digest).values(values))


async def test_another_process_knows_a_session_and_its_key(build: Build) -> None:
    opened = await build().open("second")
    session = await build().find(opened.token)
    assert session is not None
    assert (session.key, session.created_at) == ("second", opened.session.created_at)
    assert session.expires_at - session.created_at == pytest.approx(timedelta(hours=2), abs=timedelta(seconds=1))
    assert session.idle_expires_at - session.created_at == pytest.approx(timedelta(hours=1), abs=timedelta(seconds=1))


async def test_a_wrong_key_opens_no_session(build: Build, sessions: SessionFactory) -> None:
    for key in ("", "firs", "first ", "third", "ä"):
        with pytest.raises(Unauthorized):
            await build().open(key)
    with pytest.raises(Conflict):
        await BrowserSessions(sessions, (), idle_s=60, lifetime_s=60).open("first")


async def test_the_database_has_neither_the_token_nor_a_hash_of_the_key(build: Build, sessions: SessionFactory) -> None:
    opened = await build().open("first")
    with transaction(sessions, read_only=True) as session:
        (row,) = session.scalars(select(BrowserSessionRow)).all()
    assert row.digest == compute_digest("first", opened.token)
    assert opened.token not in str(vars(row))
    assert get_key_id("first") not in row.digest


@pytest.mark.parametrize("keys", [("second",), ("first2", "second")])
async def test_a_session_ends_with_its_key(build: Build, keys: tuple[str, ...]) -> None:
    opened = await build().open("first")
    assert await build(*keys).find(opened.token) is None
    assert await build("first").find(opened.token) is not None


@pytest.mark.parametrize("times", [{"used_at": 3601}, {"expires_at": 7201}])
async def test_a_session_ends_when_it_is_idle_or_old(
    build: Build, sessions: SessionFactory, times: dict[str, float]
) -> None:
    opened = await build().open("first")
    age(sessions, **times)
    assert await build().find(opened.token) is None
    await build().open("first")  # deletes ended sessions
    with transaction(sessions, read_only=True) as session:
        assert len(session.scalars(select(BrowserSessionRow)).all()) == 1


async def test_a_request_prolongs_a_session_but_not_its_lifetime(build: Build, sessions: SessionFactory) -> None:
    opened = await build().open("first")
    age(sessions, used_at=3000)
    checked = await build().find(opened.token, is_use=False)
    used = await build().find(opened.token)
    assert checked is not None
    assert used is not None
    assert used.idle_expires_at - checked.idle_expires_at > timedelta(seconds=2900)
    assert used.expires_at == opened.session.expires_at
    age(sessions, used_at=3000)
    assert await build().find(opened.token) is not None


async def test_a_closed_session_ends_at_once_here_and_soon_in_other_processes(build: Build, clock: Clock) -> None:
    here, there = build(), build()
    opened = await here.open("first")
    for process in (here, there):
        assert await process.find(opened.token) is not None
    await here.close(opened.token)
    assert await here.find(opened.token) is None
    assert await there.find(opened.token) is not None
    clock.now += CACHE_S
    assert await there.find(opened.token) is None


async def test_a_session_is_checked_without_a_query_for_a_while(
    build: Build, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = build()
    opened = await process.open("first")
    await process.find(opened.token)
    monkeypatch.setattr(process, "_sessions", None)  # a query would raise
    clock.now += CACHE_S / 2
    assert await process.find(opened.token) is not None


async def test_the_number_of_sessions_is_limited(
    build: Build, sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser_sessions, "MAX_SESSIONS", 2)
    opened = []
    for _ in range(3):
        opened.append(await build().open("first"))
        age(sessions, used_at=1)
    found = [await build().find(each.token) is not None for each in opened]
    assert found == [False, True, True]
