"""Random actions on a job are compared with a model: one holder, one end, no changes by stale tokens."""

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

S, MAX_ATTEMPTS, LEASE_S = JobState, 3, 30.0
TOKEN_AGES = st.sampled_from([0, 0, 0, 1, 5])
MOSTLY_TRUE = st.sampled_from([True, True, True, False])


requires_attempt = precondition(lambda self: self.token > 0)


class World(Protocol):
    """An empty database and its clock."""

    def start(self) -> SessionFactory: ...

    def set_clock(self, now: datetime) -> None: ...

    def end(self) -> None: ...


class SqliteWorld:
    """A SQLite file per run; the clock is the host's clock."""

    def __init__(self, template: Path, patch: pytest.MonkeyPatch) -> None:
        self._template, self._patch = template, patch

    def start(self) -> SessionFactory:
        self._folder = Path(tempfile.mkdtemp(prefix="candela-jobs-"))
        self._engine = make_engine(f"sqlite:///{shutil.copy(self._template, self._folder / 'jobs.db')}")
        return make_session_factory(self._engine)

    def set_clock(self, now: datetime) -> None:
        self._patch.setattr(clock, "utc_now", lambda: now)

    def end(self) -> None:
        self._engine.dispose()
        shutil.rmtree(self._folder)


class PostgresWorld:
    """One database for all runs. A fake `clock_timestamp` comes first in the search path."""

    def __init__(self, url: str) -> None:
        self._engine = make_engine(f"{url}&options=-csearch_path%3Dfake,pg_catalog,public")
        with self._engine.begin() as connection:
            connection.execute(text("CREATE SCHEMA fake"))
            connection.execute(text("CREATE TABLE fake.fake_clock (at timestamptz)"))
            connection.execute(text("INSERT INTO fake.fake_clock VALUES (now())"))
            body = "RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM fake.fake_clock'"
            connection.execute(text(f"CREATE FUNCTION fake.clock_timestamp() {body}"))

    def start(self) -> SessionFactory:
        with self._engine.begin() as connection:
            connection.execute(text("TRUNCATE dataset_version CASCADE"))
        return make_session_factory(self._engine)

    def set_clock(self, now: datetime) -> None:
        with self._engine.begin() as connection:
            connection.execute(text("UPDATE fake.fake_clock SET at = :now"), {"now": now})

    def end(self) -> None:
        self._engine.dispose()


class JobStateMachine(RuleBasedStateMachine):
    """The model: holder and end of the lease, number of lost attempts, and stop request."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.sessions = self.world.start()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.world.set_clock(self.now)

    @initialize(is_claimed=MOSTLY_TRUE)
    def submit(self, is_claimed: bool) -> None:
        self._submit(is_claimed)

    @precondition(lambda self: self.state in TERMINAL)
    @rule(is_claimed=MOSTLY_TRUE)
    def submit_another(self, is_claimed: bool) -> None:
        self._submit(is_claimed)

    def _submit(self, is_claimed: bool) -> None:
        with transaction(self.sessions) as session:
            session.add(version := dataset_version())
            session.flush()
            self.id = JobRepo(session).add(job(version)).id
        self.state, self.token, self.lost = S.QUEUED, 0, 0
        self.lease_until: datetime | None = None
        self.stop_request: StopRequest | None = None
        self.ends = 0
        if is_claimed:  # most of what can go fake needs somebody who is at it
            self.deliver_message(1)

    def teardown(self) -> None:
        self.world.end()

    # ---- messages, maintenance and time

    @rule(seconds=st.sampled_from([1.0, 10.0, 29.0, 31.0, 3600.0]))
    def advance_clock(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.world.set_clock(self.now)

    @rule(seconds=st.sampled_from([5.0, 3600.0]))
    def move_clock_back(self, seconds: float) -> None:
        self.now -= timedelta(seconds=seconds)
        self.world.set_clock(self.now)

    @rule(times=st.integers(1, 3))
    def deliver_message(self, times: int) -> None:
        wins = 0
        for _ in range(times):
            self._expire()
            with transaction(self.sessions) as session:
                claimed = AttemptRepo(session).claim(self.id, "w", LEASE_S, MAX_ATTEMPTS)
            is_allowed = self.state is S.QUEUED
            assert (claimed is not None) == is_allowed
            if claimed is not None:
                wins += 1
                self.state, self.token, self.lease_until = S.RUNNING, self.token + 1, self._lease()
                assert claimed.token == self.token
        assert wins <= 1

    @rule()
    def claim_next(self) -> None:
        with transaction(self.sessions) as session:
            claimed = AttemptRepo(session).claim_next("w", LEASE_S)
        assert (claimed is not None) == (self.state is S.QUEUED)
        if claimed is not None:
            self.state, self.token, self.lease_until = S.RUNNING, self.token + 1, self._lease()
            assert (claimed.id, claimed.token) == (self.id, self.token)

    @rule(times=st.integers(1, 2))
    def run_maintenance(self, times: int) -> None:
        for _ in range(times):
            self._expire()
            with transaction(self.sessions) as session:
                for job_id in AttemptRepo(session).find_expired_ids():
                    AttemptRepo(session).release_expired_lease(job_id, MAX_ATTEMPTS)

    @precondition(lambda self: self.lease_until is not None)
    @rule(late_s=st.sampled_from([-1.0, 1.0]), is_maintenance=st.booleans())
    def reach_end_of_lease(self, late_s: float, is_maintenance: bool) -> None:
        """Run maintenance or deliver a message shortly before or after the end of the lease."""
        assert self.lease_until is not None
        self.now = self.lease_until + timedelta(seconds=late_s)
        self.world.set_clock(self.now)
        self.run_maintenance(2) if is_maintenance else self.deliver_message(2)

    # ---- actions of an attempt; `token_age` is 0 for the current token

    @requires_attempt
    @rule(token_age=TOKEN_AGES)
    def renew_lease_of_attempt(self, token_age: int) -> None:
        stop_request = self._act_as_holder(token_age, lambda repo, token: repo.renew_lease(self.id, token, LEASE_S))
        if self._holds(token_age):
            self.lease_until = self._lease()
            assert stop_request == self.stop_request

    @requires_attempt
    @rule(token_age=TOKEN_AGES)
    def report(self, token_age: int) -> None:
        self._act_as_holder(token_age, lambda repo, token: repo.record_progress(self.id, token, {"epoch": token}, {}))

    @requires_attempt
    @rule(token_age=TOKEN_AGES)
    def finish(self, token_age: int) -> None:
        is_holder = self._holds(token_age)
        self._act_as_holder(token_age, lambda repo, token: repo.complete_with_model(self.id, token, 1, {}, None))
        self._end(is_holder, S.SUCCEEDED)

    @requires_attempt
    @rule(token_age=TOKEN_AGES)
    def fail(self, token_age: int) -> None:
        is_holder = self._holds(token_age)
        self._act_as_holder(token_age, lambda repo, token: repo.fail(self.id, token, build_failure("diverged")))
        self._end(is_holder, S.FAILED)

    @requires_attempt
    @rule(token_age=TOKEN_AGES)
    def release(self, token_age: int) -> None:
        is_holder = self._holds(token_age)
        self._act_as_holder(token_age, lambda repo, token: repo.release(self.id, token, "left"))
        if is_holder:
            self._release()

    @precondition(lambda self: self.token > 0 and self.stop_request is None)  # other attempts are released
    @rule(token_age=TOKEN_AGES)
    def pause_at_milestone(self, token_age: int) -> None:
        is_holder = self._holds(token_age)
        self._act_as_holder(token_age, lambda repo, token: repo.pause_at_milestone(self.id, token, 1))
        if is_holder:
            self._set(S.PAUSED)

    @requires_attempt
    @rule(token_age=TOKEN_AGES)
    def lose(self, token_age: int) -> None:
        is_holder = self._holds(token_age)
        self._act_as_holder(
            token_age,
            lambda repo, token: repo.requeue_or_fail(self.id, token, build_failure("worker_lost"), MAX_ATTEMPTS),
        )
        if is_holder:
            self._lose()

    # ---- actions of a client

    @rule(stop_request=st.sampled_from([*StopRequest, StopRequest.PAUSE, StopRequest.FINISH]))
    def request_stop(self, stop_request: StopRequest) -> None:
        to = {
            StopRequest.CANCEL: (S.CANCELLING, S.CANCELLED),
            StopRequest.PAUSE: (S.PAUSING, S.PAUSED),
            StopRequest.FINISH: (S.RUNNING, None),
        }[stop_request]
        if stop_request is StopRequest.FINISH:
            is_allowed = self.state is S.RUNNING
        else:
            is_allowed = self.state in to or (to[0] if self.state in ACTIVE else to[1]) in TRANSITIONS[self.state]
        self._act_as_client(is_allowed, lambda repo: repo.request_stop(self.id, stop_request))
        if (
            not is_allowed
            or self.state in to[::-1][:1]
            or (stop_request is not StopRequest.FINISH and self.state is to[0])
        ):
            return
        if self.state in ACTIVE:
            self.state, self.stop_request = to[0], stop_request
        else:
            self.stop_request = None
            self._end(True, to[1] or S.CANCELLED) if to[1] in TERMINAL else self._set(S.PAUSED)

    @requires_attempt
    @rule()
    def kill(self) -> None:
        is_allowed = S.CANCELLED in TRANSITIONS[self.state] or self.state is S.CANCELLED
        self._act_as_client(is_allowed, lambda repo: repo.kill(self.id))
        if is_allowed and self.state is not S.CANCELLED:
            self._end(True, S.CANCELLED)

    @rule()
    def resume(self) -> None:
        is_allowed = self.state is S.PAUSED
        self._act_as_client(is_allowed, lambda repo: repo.resume(self.id))
        if is_allowed:
            self._set(S.QUEUED)
            self.stop_request = None

    @precondition(lambda self: self.state is S.SUCCEEDED)
    @rule()
    def extend(self) -> None:
        self._act_as_client(True, lambda repo: repo.extend(self.id, {"epochs": 2}))
        self._set(S.QUEUED)
        self.lost, self.ends, self.stop_request = 0, 0, None

    # ---- invariants

    @invariant()
    def the_row_matches_the_model(self) -> None:
        row = self._row()
        assert (row.state, row.token, row.lost_attempts) == (self.state, self.token, self.lost)
        assert (row.lease_until is not None) == (row.state in ACTIVE) == (row.owner is not None)
        assert row.progress.get("epoch", self.token) <= self.token

    @invariant()
    def the_job_ends_once(self) -> None:
        with transaction(self.sessions, read_only=True) as session:
            events = EventRepo(session).list_transitions(self.id)
        queued_at = [event.at for event in events if event.payload["to"] == S.QUEUED]
        assert self._row().queued_at == queued_at[-1]
        transitions = [event.payload for event in events]
        for before, after in itertools.pairwise(transitions):
            assert after["from"] == before["to"], transitions
            assert after["to"] in TRANSITIONS[JobState(after["from"])]
        assert self.ends == (1 if self.state in TERMINAL else 0)

    # ---- changes of the model

    def _row(self) -> JobRow:
        with transaction(self.sessions, read_only=True) as session:
            return JobRepo(session).get(self.id)

    def _lease(self) -> datetime:
        return self.now + timedelta(seconds=LEASE_S)

    def _holds(self, token_age: int) -> bool:
        return token_age == 0 and self.state in ACTIVE

    def _act_as_holder(self, token_age: int, act: Callable[[AttemptRepo, int], Any]) -> Any:
        before = vars(self._row()).copy()
        try:
            with transaction(self.sessions) as session:
                result = act(AttemptRepo(session), self.token - token_age)
        except LostLease:
            assert not self._holds(token_age)
            after = vars(self._row())
            assert {k: v for k, v in after.items() if k[0] != "_"} == {k: v for k, v in before.items() if k[0] != "_"}
            return None
        assert self._holds(token_age)
        return result

    def _act_as_client(self, is_allowed: bool, act: Callable[[JobRepo], Any]) -> None:
        try:
            with transaction(self.sessions) as session:
                act(JobRepo(session))
        except Conflict:
            assert not is_allowed
            return
        assert is_allowed

    def _expire(self) -> None:
        if self.state in ACTIVE and self.lease_until is not None and self.lease_until < self.now:
            self._lose()

    def _lose(self) -> None:
        self.lost += 1
        if self.state is S.RUNNING and self.lost >= MAX_ATTEMPTS:
            self._end(True, S.FAILED)
        else:
            self._release()

    def _release(self) -> None:
        if self.state is S.CANCELLING:
            self._end(True, S.CANCELLED)
        elif self.state is S.PAUSING:
            self._set(S.PAUSED)
            self.stop_request = None
        else:
            self._set(S.QUEUED)

    def _end(self, is_holder: bool, state: JobState) -> None:
        if is_holder:
            self._set(state)
            self.ends += 1
            self.stop_request = None if state is not S.FAILED else self.stop_request

    def _set(self, state: JobState) -> None:
        self.state, self.lease_until = state, None


def run_state_machine(world: World, max_examples: int) -> None:
    JobStateMachine.world = world
    suppressed = list(HealthCheck)
    run_state_machine_as_test(
        JobStateMachine,
        settings=settings(
            max_examples=max_examples, stateful_step_count=25, deadline=None, suppress_health_check=suppressed
        ),
    )


def test_random_actions_keep_the_invariants_on_sqlite(sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_state_machine(SqliteWorld(sqlite_template, monkeypatch), 60)


@pytest.mark.services
def test_random_actions_keep_the_invariants_on_postgresql(postgres: PostgresServer) -> None:
    name = postgres.create("candela_template")
    run_state_machine(PostgresWorld(postgres.url(name)), 20)
    postgres.drop(name)
