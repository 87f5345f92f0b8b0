"""What an endpoint may ask for, by type; and what lives as long as the process."""

from collections.abc import Iterator
from typing import Annotated, Any, TypedDict, cast

from core.bus import Bus
from core.outbox import Dispatcher
from fastapi import Depends, Request
from sqlalchemy.orm import Session

from core.db.session import SessionFactory, transaction
from core.settings import Settings
from core.storage import Storage


class State(TypedDict):
    """What lives as long as the process; `create_app` builds it, tests bring their own."""

    settings: Settings
    sessions: SessionFactory
    dispatcher: Dispatcher
    bus: Bus
    storage: Storage
    predictors: Any  # app.serving: the pool of loaded networks


def _state(request: Request) -> State:
    return cast("State", request.scope["state"])


StateDep = Annotated[State, Depends(_state)]


def _session(state: StateDep) -> Iterator[Session]:
    with transaction(state["sessions"]) as session:
        yield session


# "function": the commit comes before the answer, so that a failed commit is a failed request.
SessionDep = Annotated[Session, Depends(_session, scope="function")]


def _settings(state: StateDep) -> Settings:
    return state["settings"]


def _storage(state: StateDep) -> Storage:
    return state["storage"]


SettingsDep = Annotated[Settings, Depends(_settings)]
StorageDep = Annotated[Storage, Depends(_storage)]
