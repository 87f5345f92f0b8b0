"""The composition root of the HTTP service: what it is made of, and in which order it starts and stops."""

from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from core.bus import open_bus
from core.outbox import Dispatcher
from core.queue import CeleryQueue
from fastapi import FastAPI

from app import problems
from app.deps import State
from core.db.session import make_engine, make_sessions
from core.errors import ConfigurationError
from core.logging import configure_logging
from core.settings import Settings
from core.storage import open_storage

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def create_app(settings: Settings | None = None, state: State | None = None) -> FastAPI:
    """The application; without `state` it builds its own from `settings`, or from the environment."""
    if settings is None:
        settings = state["settings"] if state is not None else Settings()
    refuse_open_door(settings)
    app = FastAPI(title="Candela", lifespan=_lifespan(settings, state))
    problems.install(app)
    return app


def refuse_open_door(settings: Settings) -> None:
    """Raise ConfigurationError where anyone on the network could use the service without a key."""
    if settings.host not in LOOPBACK and not settings.api_keys:
        raise ConfigurationError(
            f"CANDELA_HOST={settings.host} is reachable from elsewhere: set CANDELA_API_KEYS, or listen on 127.0.0.1."
        )


def _lifespan(settings: Settings, given: State | None) -> Any:  # noqa: ANN401 - starlette's own type is as loose
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        if given is not None:
            yield dict(given)
            return
        with ExitStack() as stack:
            yield dict(_open_state(settings, stack))

    return lifespan


def _open_state(settings: Settings, stack: ExitStack) -> State:
    configure_logging(settings.log_level)
    engine = make_engine(settings.sqlalchemy_url)
    stack.callback(engine.dispose)
    sessions = make_sessions(engine)
    dispatcher = Dispatcher(sessions, CeleryQueue(settings.redis_url))
    dispatcher.start()
    stack.callback(dispatcher.stop)
    return State(
        settings=settings,
        sessions=sessions,
        dispatcher=dispatcher,
        bus=open_bus(settings.redis_url),
        storage=open_storage(settings.store),
        predictors=None,
    )
