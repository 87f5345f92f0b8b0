"""The composition root of the HTTP service: what it is made of, and in which order it starts and stops."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any

import structlog
from fastapi import FastAPI
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from app import oip, problems
from app.api import (
    batch_predictions,
    catalog,
    datasets,
    docs,
    events,
    health,
    jobs,
    models,
    predictions,
    results,
    system,
    variants,
)
from app.api import explanations as insights
from app.api.fast_path import PREDICT as HOT_PREDICT
from app.deps import State, resolve_waiting
from app.http import rate_limit
from app.http.fast_path import FastPathMiddleware
from app.http.middleware import (
    ApiKeyMiddleware,
    BodySizeLimitMiddleware,
    RequestContextMiddleware,
    RequireHostMiddleware,
)
from app.http.tracing import NOTHING, Tracing
from app.oip.fast_path import INFER, INFER_VERSION
from app.openapi import describe, operation_id
from app.services.event_stream import EventStreams
from app.services.poller import run_periodically
from app.services.prediction.explanations import InsightService
from app.services.prediction.inference import InferenceService
from app.services.prediction.predictions import PredictionService
from app.services.prediction.preload import preload_models
from app.services.prediction.version_cache import VersionCache
from app.services.readiness import Readiness, checks_of
from app.serving.backend import ModelBackend
from app.serving.decoding import Decoder
from app.serving.model_server import ModelServer
from app.serving.process_pool import InferenceProcessPool
from app.serving.unload_state import UnloadedFiles
from core.bus import RedisBus
from core.db.schema import check_schema
from core.db.session import make_engine, make_sessions
from core.errors import ConfigurationError
from core.logging import configure_logging
from core.outbox import OutboxRelay
from core.process_tuning import freeze_gc, lower_switch_interval
from core.queue import CeleryQueue
from core.settings import Settings
from core.startup import exit_on_configuration_error, settings_or_exit
from core.storage import open_storage

log = structlog.get_logger(__name__)

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
UPLOAD = re.compile(r"/v1/datasets/[^/]+/versions/?|/v1/models/[^/]+/predictions/?")
INLINE = re.compile(r"/v1/datasets/?")
PREDICT = re.compile(r"/v1/(models|jobs)/[^/]+/(predict|embed|explain)/?|/v1/models/[^/]+:(embed|explain)|/v2/.*/infer")
ROUTERS = (
    jobs,
    results,
    events,
    datasets,
    models,
    variants,
    predictions,
    insights,
    batch_predictions,
    catalog,
    system,
    health,
    docs,
)


def create_app(settings: Settings | None = None, state: State | None = None) -> FastAPI:
    """The application; without `state` it builds its own from `settings`; servers ask for that of the environment.

    Raises:
        ConfigurationError: it would be open to the network without a key.
        SystemExit: the environment's settings cannot be served; one line on stderr says why.
    """
    if settings is None and state is not None:
        settings = state["settings"]
    if settings is None:
        settings = settings_or_exit()
        with exit_on_configuration_error():
            validate_settings(settings)
    require_keys_on_public_host(settings)
    traces = Tracing.configured()
    app = FastAPI(
        title="Candela",
        version=version("candela"),
        lifespan=_lifespan(settings, state, traces),
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=operation_id,
        redirect_slashes=False,
        telemetry=NOTHING if traces is None else traces.telemetry,
    )
    problems.install(app)
    for module in ROUTERS:
        app.include_router(module.router)
    app.mount(docs.STATIC_URL, docs.static_files())
    oip.mount(app)
    app.openapi = describe(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
    # The last one added is the first to see a request.
    app.add_middleware(FastPathMiddleware, endpoints=(HOT_PREDICT, INFER, INFER_VERSION))
    app.add_middleware(BodySizeLimitMiddleware, limit_of=body_limits(settings))
    app.add_middleware(ApiKeyMiddleware, keys=[key.get_secret_value() for key in settings.api_keys])
    rate_limit.add(app, settings)
    app.add_middleware(RequireHostMiddleware)
    app.add_middleware(RequestContextMiddleware)
    if traces is not None:
        traces.add(app)
    return app


def validate_settings(settings: Settings) -> None:
    """Raise ConfigurationError for what would only be found while starting, among other lines."""
    require_keys_on_public_host(settings)
    RedisBus(settings.redis_url).close()
    open_storage(settings.store, cache=settings.cache_dir, max_cache_bytes=settings.max_cache_bytes).close()
    engine = make_engine(settings.sqlalchemy_url)
    _refuse_other_schema(engine)
    engine.dispose()


def require_keys_on_public_host(settings: Settings) -> None:
    """Raise ConfigurationError where anyone on the network could use the service without a key."""
    if settings.host not in LOOPBACK and not settings.api_keys:
        raise ConfigurationError(
            f"CANDELA_HOST={settings.host} is reachable from elsewhere: set CANDELA_API_KEYS, or listen on 127.0.0.1."
        )


def body_limits(settings: Settings) -> Callable[[str], int]:
    """How many bytes a path's body may have."""

    def limit_of(path: str) -> int:
        if PREDICT.fullmatch(path):  # most are
            return settings.max_predict_bytes
        if UPLOAD.fullmatch(path):
            return settings.max_upload_bytes
        if INLINE.fullmatch(path):
            return min(settings.max_inline_bytes, settings.max_upload_bytes)
        return settings.max_json_bytes

    return limit_of


def _lifespan(settings: Settings, given: State | None, traces: Tracing | None) -> Any:  # noqa: ANN401 - starlette's own type is as loose
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with AsyncExitStack() as stack:
            if traces is not None:
                stack.push_async_callback(traces.close)
            state = given if given is not None else await _open(settings, stack, traces)
            if given is None:
                await stack.enter_async_context(run_periodically(lambda: resolve_waiting(state)))
            decoder = Decoder(
                max_waiting=settings.max_waiting_predictions,
                max_bytes=settings.max_image_bytes,
                max_pixels=settings.max_image_pixels,
            )
            stack.callback(decoder.close)
            decoder = decoder if traces is None else traces.decoder(decoder)
            lookup, predictors = VersionCache(state["sessions"]), state["predictors"]
            await predictors.start()
            await stack.enter_async_context(preload_models(settings.pinned_models, lookup, predictors))
            if given is None:
                freeze_gc()
                lower_switch_interval()
            yield {
                **state,
                "readiness": Readiness(
                    checks_of(state["sessions"], state["storage"], state["queue"], predictors.networks)
                ),
                "lookup": lookup,
                "streams": EventStreams(state["sessions"], state["bus"]),
                "predictions": PredictionService(lookup, decoder, predictors),
                "insights": InsightService(lookup, decoder, predictors),
                "inference": InferenceService(
                    state["sessions"],
                    lookup,
                    decoder,
                    predictors,
                    max_batch_size=settings.max_batch_size,
                    unloaded=UnloadedFiles(settings.meeting / "unloaded") if settings.meeting else None,
                ),
            }

    return lifespan


async def _open(settings: Settings, stack: AsyncExitStack, traces: Tracing | None) -> State:
    """Start what lives as long as the process; `stack` stops it in the opposite order."""
    configure_logging(settings.log_level)
    engine = make_engine(settings.sqlalchemy_url)
    stack.callback(engine.dispose)
    _refuse_other_schema(engine)
    bus = RedisBus(settings.redis_url)
    stack.push_async_callback(bus.aclose)
    sessions = make_sessions(engine, bus.publish)
    queue = CeleryQueue(settings.redis_url)
    dispatcher = OutboxRelay(sessions, queue)
    dispatcher.start()
    stack.callback(dispatcher.close)
    storage = open_storage(settings.store, cache=settings.cache_dir, max_cache_bytes=settings.max_cache_bytes)
    networks: ModelBackend = InferenceProcessPool(settings.predict_devices, settings.meeting)
    predictors = ModelServer(
        storage,
        networks if traces is None else traces.networks(networks),
        max_batch_size=settings.max_batch_size,
        max_waiting=settings.max_waiting_predictions,
        max_loaded=settings.max_loaded_models,
        max_wait_s=settings.max_predict_wait_s,
        max_bytes=settings.max_model_bytes,
        pinned=settings.pinned_models,
        precision=settings.predict_precision,
        num_askers=settings.http_processes,
    )
    stack.push_async_callback(predictors.close)
    return State(
        settings=settings,
        sessions=sessions,
        queue=queue,
        dispatcher=dispatcher,
        bus=bus,
        storage=storage,
        predictors=predictors,
    )


def _refuse_other_schema(engine: Engine) -> None:
    try:
        check_schema(engine)
    except DBAPIError as error:  # it may come up later; until then nothing is ready
        log.warning("database.unavailable", error=str(error.orig))
