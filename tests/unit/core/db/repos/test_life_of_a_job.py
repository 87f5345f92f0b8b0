"""A job driven at random against a model of its rules: one holder, one end, no effect by a stale token."""

import itertools
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from core.db import clock
from core.db.repos.attempts import AttemptRepo
from core.db.repos.events import EventRepo
from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, make_engine, make_session_factory, transaction
from core.db.tables import JobRow
from core.errors import Conflict, LostLease
from core.failures import build_failure
from core.jobs import ACTIVE, TERMINAL, TRANSITIONS, JobState, StopRequest
from tests.support.builders import dataset_version, job
from tests.support.servers import PostgresServer

S, CAP, LEASE_S = JobState, 3, 30.0
STALE = st.sampled_from([0, 0, 0, 1, 5])
OFTEN = st.sampled_from([True, True, True, False])


after_an_attempt = precondition(lambda self: self.token > 0)


class World(Protocol):
    """A database without rows, and its clock."""

    def begin(self) -> SessionFactory: ...

    def turn(self, now: datetime) -> None: ...

    def end(self) -> None: ...


class OnSqlite:
    """A file for every life; the clock is the host's."""

    def __init__(self, template: Path, patch: pytest.MonkeyPatch) -> None:
        self._template, self._patch = template, patch

    def begin(self) -> SessionFactory:
        self._folder = Path(tempfile.mkdtemp(prefix="candela-life-"))
        self._engine = make_engine(f"sqlite:///{shutil.copy(self._template, self._folder / 'life.db')}")
        return make_session_factory(self._engine)

    def turn(self, now: datetime) -> None:
        self._patch.setattr(clock, "utc_now", lambda: now)

    def end(self) -> None:
        self._engine.dispose()
        shutil.rmtree(self._folder)


class OnPostgres:
    """One database for all lives; the server's clock is asked by a name that is found in a schema of ours first."""

    def __init__(self, url: str) -> None:
        self._engine = make_engine(f"{url}&options=-csearch_path%3Dwrong,pg_catalog,public")
        with self._engine.begin() as connection:
            connection.execute(text("CREATE SCHEMA wrong"))
            connection.execute(text("CREATE TABLE wrong.dial (at timestamptz)"))
            connection.execute(text("INSERT INTO wrong.dial VALUES (now())"))
            body = "RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM wrong.dial'"
            connection.execute(text(f"CREATE FUNCTION wrong.clock_timestamp() {body}"))

    def begin(self) -> SessionFactory:
        with self._engine.begin() as connection:
            connection.execute(text("TRUNCATE dataset_version CASCADE"))
        return make_session_factory(self._engine)

    def turn(self, now: datetime) -> None:
        with self._engine.begin() as connection:
            connection.execute(text("UPDATE wrong.dial SET at = :now"), {"now": now})

    def end(self) -> None:
        self._engine.dispose()


class Life(RuleBasedStateMachine):
    """The model: who holds the lease until when, how often an attempt was lost, what was wished for."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.sessions = self.world.begin()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.world.turn(self.now)

    @initialize(is_taken=OFTEN)
    def submit(self, is_taken: bool) -> None:
        self._submit(is_taken)

    @precondition(lambda self: self.state in TERMINAL)
    @rule(is_taken=OFTEN)
    def submit_another(self, is_taken: bool) -> None:
        self._submit(is_taken)

    def _submit(self, is_taken: bool) -> None:
        with transaction(self.sessions) as session:
            session.add(version := dataset_version())
            session.flush()
            self.id = JobRepo(session).add(job(version)).id
        self.state, self.token, self.lost = S.QUEUED, 0, 0
        self.lease_until: datetime | None = None
        self.wish: StopRequest | None = None
        self.ends = 0
        if is_taken:  # most of what can go wrong needs somebody who is at it
            self.a_message_is_delivered(1)

    def teardown(self) -> None:
        self.world.end()

    # ---- what the world does

    @rule(seconds=st.sampled_from([1.0, 10.0, 29.0, 31.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.world.turn(self.now)

    @rule(seconds=st.sampled_from([5.0, 3600.0]))
    def the_clock_jumps_back(self, seconds: float) -> None:
        self.now -= timedelta(seconds=seconds)
        self.world.turn(self.now)

    @rule(times=st.integers(1, 3))
    def a_message_is_delivered(self, times: int) -> None:
        wins = 0
        for _ in range(times):
            self._expire()
            with transaction(self.sessions) as session:
                won = AttemptRepo(session).claim(self.id, "w", LEASE_S, CAP)
            may = self.state is S.QUEUED
            assert (won is not None) == may
            if won is not None:
                wins += 1
                self.state, self.token, self.lease_until = S.RUNNING, self.token + 1, self._lease()
                assert won.token == self.token
        assert wins <= 1

    @rule(times=st.integers(1, 2))
    def the_sweep_comes(self, times: int) -> None:
        for _ in range(times):
            self._expire()
            with transaction(self.sessions) as session:
                for job_id in AttemptRepo(session).find_expired_ids():
                    AttemptRepo(session).release_expired_lease(job_id, CAP)

    @precondition(lambda self: self.lease_until is not None)
    @rule(late_s=st.sampled_from([-1.0, 1.0]), does_sweep=st.booleans())
    def the_holder_falls_silent(self, late_s: float, does_sweep: bool) -> None:
        """Somebody comes shortly before its lease is over, or after."""
        assert self.lease_until is not None
        self.now = self.lease_until + timedelta(seconds=late_s)
        self.world.turn(self.now)
        self.the_sweep_comes(2) if does_sweep else self.a_message_is_delivered(2)

    # ---- what a holder does; `back` says how stale its token is

    @after_an_attempt
    @rule(back=STALE)
    def beat(self, back: int) -> None:
        wish = self._as_holder(back, lambda repo, token: repo.renew_lease(self.id, token, LEASE_S))
        if self._holds(back):
            self.lease_until = self._lease()
            assert wish == self.wish

    @after_an_attempt
    @rule(back=STALE)
    def report(self, back: int) -> None:
        self._as_holder(back, lambda repo, token: repo.set_progress(self.id, token, {"epoch": token}, {}))

    @after_an_attempt
    @rule(back=STALE)
    def finish(self, back: int) -> None:
        held = self._holds(back)
        self._as_holder(back, lambda repo, token: repo.complete_with_model(self.id, token, 1, {}, None))
        self._end(held, S.SUCCEEDED)

    @after_an_attempt
    @rule(back=STALE)
    def fail(self, back: int) -> None:
        held = self._holds(back)
        self._as_holder(back, lambda repo, token: repo.fail(self.id, token, build_failure("diverged")))
        self._end(held, S.FAILED)

    @after_an_attempt
    @rule(back=STALE)
    def give_back(self, back: int) -> None:
        held = self._holds(back)
        self._as_holder(back, lambda repo, token: repo.release(self.id, token, "left"))
        if held:
            self._released()

    @after_an_attempt
    @rule(back=STALE)
    def lose(self, back: int) -> None:
        held = self._holds(back)
        self._as_holder(
            back, lambda repo, token: repo.requeue_or_fail(self.id, token, build_failure("worker_lost"), CAP)
        )
        if held:
            self._lose()

    # ---- what a client does

    @rule(wish=st.sampled_from([*StopRequest, StopRequest.PAUSE, StopRequest.FINISH]))
    def ask(self, wish: StopRequest) -> None:
        to = {
            StopRequest.CANCEL: (S.CANCELLING, S.CANCELLED),
            StopRequest.PAUSE: (S.PAUSING, S.PAUSED),
            StopRequest.FINISH: (S.RUNNING, None),
        }[wish]
        if wish is StopRequest.FINISH:
            may = self.state is S.RUNNING
        else:
            may = self.state in to or (to[0] if self.state in ACTIVE else to[1]) in TRANSITIONS[self.state]
        self._as_client(may, lambda repo: repo.request_stop(self.id, wish))
        if not may or self.state in to[::-1][:1] or (wish is not StopRequest.FINISH and self.state is to[0]):
            return
        if self.state in ACTIVE:
            self.state, self.wish = to[0], wish
        else:
            self.wish = None
            self._end(True, to[1] or S.CANCELLED) if to[1] in TERMINAL else self._set(S.PAUSED)

    @after_an_attempt
    @rule()
    def kill(self) -> None:
        may = S.CANCELLED in TRANSITIONS[self.state] or self.state is S.CANCELLED
        self._as_client(may, lambda repo: repo.kill(self.id))
        if may and self.state is not S.CANCELLED:
            self._end(True, S.CANCELLED)

    @rule()
    def resume(self) -> None:
        may = self.state is S.PAUSED
        self._as_client(may, lambda repo: repo.resume(self.id))
        if may:
            self._set(S.QUEUED)
            self.wish = None

    @precondition(lambda self: self.state is S.SUCCEEDED)
    @rule()
    def extend(self) -> None:
        self._as_client(True, lambda repo: repo.extend(self.id, {"epochs": 2}))
        self._set(S.QUEUED)
        self.lost, self.ends, self.wish = 0, 0, None

    # ---- what always holds

    @invariant()
    def the_row_is_as_the_model_says(self) -> None:
        row = self._row()
        assert (row.state, row.token, row.lost_attempts) == (self.state, self.token, self.lost)
        assert (row.lease_until is not None) == (row.state in ACTIVE) == (row.owner is not None)
        assert row.progress.get("epoch", self.token) <= self.token

    @invariant()
    def it_ends_once(self) -> None:
        with transaction(self.sessions, read_only=True) as session:
            moves = [event.payload for event in EventRepo(session).list_transitions(self.id)]
        for before, after in itertools.pairwise(moves):
            assert after["from"] == before["to"], moves
            assert after["to"] in TRANSITIONS[JobState(after["from"])]
        assert self.ends == (1 if self.state in TERMINAL else 0)

    # ---- the model's own steps

    def _row(self) -> JobRow:
        with transaction(self.sessions, read_only=True) as session:
            return JobRepo(session).get(self.id)

    def _lease(self) -> datetime:
        return self.now + timedelta(seconds=LEASE_S)

    def _holds(self, back: int) -> bool:
        return back == 0 and self.state in ACTIVE

    def _as_holder(self, back: int, act: Callable[[AttemptRepo, int], Any]) -> Any:
        before = vars(self._row()).copy()
        try:
            with transaction(self.sessions) as session:
                answer = act(AttemptRepo(session), self.token - back)
        except LostLease:
            assert not self._holds(back)
            after = vars(self._row())
            assert {k: v for k, v in after.items() if k[0] != "_"} == {k: v for k, v in before.items() if k[0] != "_"}
            return None
        assert self._holds(back)
        return answer

    def _as_client(self, may: bool, act: Callable[[JobRepo], Any]) -> None:
        try:
            with transaction(self.sessions) as session:
                act(JobRepo(session))
        except Conflict:
            assert not may
            return
        assert may

    def _expire(self) -> None:
        if self.state in ACTIVE and self.lease_until is not None and self.lease_until < self.now:
            self._lose()

    def _lose(self) -> None:
        self.lost += 1
        if self.state is S.RUNNING and self.lost >= CAP:
            self._end(True, S.FAILED)
        else:
            self._released()

    def _released(self) -> None:
        if self.state is S.CANCELLING:
            self._end(True, S.CANCELLED)
        elif self.state is S.PAUSING:
            self._set(S.PAUSED)
            self.wish = None
        else:
            self._set(S.QUEUED)

    def _end(self, held: bool, state: JobState) -> None:
        if held:
            self._set(state)
            self.ends += 1
            self.wish = None if state is not S.FAILED else self.wish

    def _set(self, state: JobState) -> None:
        self.state, self.lease_until = state, None


def live(world: World, max_examples: int) -> None:
    Life.world = world
    suppressed = list(HealthCheck)
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=max_examples, stateful_step_count=25, deadline=None, suppress_health_check=suppressed
        ),
    )


def test_whatever_comes_in_whatever_order_the_rules_hold(
    sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(OnSqlite(sqlite_template, monkeypatch), 60)


@pytest.mark.services
def test_they_hold_on_postgresql_by_its_own_clock(postgres: PostgresServer) -> None:
    name = postgres.create("candela_template")
    live(OnPostgres(postgres.url(name)), 20)
    postgres.drop(name)
