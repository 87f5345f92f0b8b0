"""Builds the FastAPI application: adds the routers and the middleware, and starts and stops the services."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from starlette.types import Scope

from app import oip, problems, web
from app.api import (
    batch_predictions,
    browser_sessions,
    catalog,
    dataset_samples,
    dataset_versions,
    datasets,
    docs,
    events,
    explanations,
    health,
    job_comparison,
    jobs,
    lineage,
    many_job_events,
    metric_curves,
    models,
    predictions,
    problem_pages,
    reproductions,
    results,
    sweeps,
    system,
    uploads,
    variants,
)
from app.api.fast_path import PREDICT
from app.http import cors, forwarded_headers, rate_limit
from app.http.body_budget import BodyBudget
from app.http.browser_guard import BrowserGuardMiddleware
from app.http.browser_sessions import add_browser_sessions
from app.http.compression import CompressionMiddleware
from app.http.content_decoding import ContentDecodingMiddleware
from app.http.fast_path import FastPathMiddleware
from app.http.memory_release import release_memory_later
from app.http.methods import MethodsMiddleware
from app.http.middleware import ApiKeyMiddleware, BodySizeLimitMiddleware, RequestContextMiddleware
from app.http.tracing import DISABLED_TELEMETRY, Tracing
from app.oip.fast_path import INFER, INFER_VERSION
from app.openapi import build_openapi, get_operation_id
from app.services.browser_sessions import BrowserSessions
from app.services.poller import run_periodically
from app.services.prediction.preload import preload_models
from app.state import STATE_KEY, State, open_state, require_current_schema
from core.bus import RedisBus
from core.db.session import make_engine
from core.errors import ConfigurationError
from core.file_permissions import apply_umask
from core.process_tuning import freeze_gc, lower_switch_interval
from core.settings import Settings
from core.startup import exit_on_configuration_error, load_settings_or_exit
from core.storage import open_storage, require_storage
from core.version import get_version

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
UPLOAD_PATHS = re.compile(r"/v1/datasets/[^/]+/versions/?|/v1/models/[^/]+/predictions/?|/v1/uploads(/[^/]+)?/?")
INLINE_PATHS = re.compile(r"/v1/datasets/?")
PREDICT_PATHS = re.compile(
    r"/v1/(models|jobs)/[^/]+/(predict|embed|explain)/?|/v1/models/[^/]+:(embed|explain)|/v2/.*/infer"
)
UPLOAD_POLL_S = 5.0
DELETED_MODELS_POLL_S = 5.0
UNUSED_MODELS_POLL_S = 5.0
ROUTERS = (
    job_comparison,  # before `jobs`, where its path would be an id
    jobs,
    results,
    lineage,
    metric_curves,
    sweeps,
    events,
    many_job_events,
    datasets,
    dataset_samples,
    dataset_versions,
    uploads,
    models,
    variants,
    reproductions,
    predictions,
    explanations,
    batch_predictions,
    catalog,
    system,
    browser_sessions,
    health,
    docs,
    problem_pages,
)
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, State]]]


def create_app(settings: Settings | None = None, state: State | None = None) -> FastAPI:
    """Return the application.

    Args:
        settings: settings of the service. Default: read from the environment.
        state: connections and services. Default: opened with `settings` when the application starts. If the caller
            passes a state, the caller must close it.

    Raises:
        ConfigurationError: other hosts can reach the service and no API key is configured.
        SystemExit: the environment has invalid settings; the reason is printed to stderr.
    """
    if settings is None and state is not None:
        settings = state.settings
    if settings is None:
        settings = load_settings_or_exit()
        apply_umask(settings.umask)
        with exit_on_configuration_error():
            validate_settings(settings)
    require_keys_on_public_host(settings)
    tracing = Tracing.from_environment()
    app = FastAPI(
        title="Candela",
        version=get_version(),
        lifespan=_build_lifespan(settings, state, tracing),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=get_operation_id,
        redirect_slashes=False,
        telemetry=DISABLED_TELEMETRY if tracing is None else tracing.telemetry,
    )
    problems.install_handlers(app)
    for module in ROUTERS:
        app.include_router(module.router)
    docs.mount_files(app)
    docs.add_openapi_endpoint(app)
    oip_app = oip.mount(app)
    web.mount(app)
    app.openapi = build_openapi(app, has_keys=bool(settings.api_keys), routes=oip_app.routes)  # type: ignore[method-assign]  # FastAPI's documented way to extend OpenAPI
    _add_middleware(app, settings, tracing)
    return app


def __getattr__(name: str) -> FastAPI:
    """Create the application for `uvicorn app.main:app`. The import of the module alone reads no settings."""
    if name == "app":
        return create_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _add_middleware(app: FastAPI, settings: Settings, tracing: Tracing | None) -> None:
    """Add the middleware. The middleware that is added last handles requests first."""
    app.add_middleware(CompressionMiddleware)  # inside of the fast path, whose responses it never sees
    app.add_middleware(MethodsMiddleware)
    app.add_middleware(FastPathMiddleware, routes=(PREDICT, INFER, INFER_VERSION))
    get_limit = build_body_limits(settings)
    budget = BodyBudget(settings.max_buffered_bytes, on_idle=release_memory_later)
    app.add_middleware(BodySizeLimitMiddleware, get_limit=get_limit, is_streamed=is_upload, budget=budget)
    app.add_middleware(ContentDecodingMiddleware, get_limit=get_limit, is_streamed=is_upload, budget=budget)
    app.add_middleware(ApiKeyMiddleware, keys=[key.get_secret_value() for key in settings.api_keys])
    wrong_keys = rate_limit.WrongKeyLimit(settings.max_wrong_keys_per_min)
    rate_limit.add_rate_limit(app, settings, wrong_keys)
    add_browser_sessions(app, _get_browser_sessions, wrong_keys, has_keys=bool(settings.api_keys))
    cors.add_cors(app, settings.cors_origins)
    app.add_middleware(
        BrowserGuardMiddleware,
        allowed_hosts=settings.allowed_hosts,
        cors_origins=settings.cors_origins,
        has_keys=bool(settings.api_keys),
    )
    app.add_middleware(RequestContextMiddleware)
    forwarded_headers.add_forwarded_headers(app, settings.trusted_proxies)
    if tracing is not None:
        tracing.add_middleware(app)


def _get_browser_sessions(scope: Scope) -> BrowserSessions:
    state: State = scope["state"][STATE_KEY]
    return state.browser_sessions


def validate_settings(settings: Settings) -> None:
    """Open and close every connection once, to report invalid settings before the server starts.

    Raises:
        ConfigurationError: a setting is invalid.
    """
    require_keys_on_public_host(settings)
    RedisBus(settings.redis_url).close()
    storage_url, cache = settings.effective_storage_url, settings.cache_dir
    storage = open_storage(storage_url, cache=cache, max_cache_bytes=settings.max_cache_bytes)
    try:
        require_storage(storage)
    finally:
        storage.close()
    engine = make_engine(settings.sqlalchemy_url)
    require_current_schema(engine)
    engine.dispose()


def require_keys_on_public_host(settings: Settings) -> None:
    """Raise ConfigurationError if other hosts can reach the service and no API key is configured."""
    if settings.host not in LOOPBACK_HOSTS and not settings.api_keys:
        raise ConfigurationError(
            f"CANDELA_HOST={settings.host} makes the service reachable from other hosts, but no API key is configured: "
            "set CANDELA_API_KEYS, or CANDELA_HOST=127.0.0.1."
        )


def build_body_limits(settings: Settings) -> Callable[[str], int]:
    """Return a function that maps a request path to the maximum size of the request body in bytes."""

    def get_limit(path: str) -> int:
        if PREDICT_PATHS.fullmatch(path):  # checked first, since most requests are predictions
            return settings.max_predict_bytes
        if is_upload(path):
            return settings.max_upload_bytes
        if INLINE_PATHS.fullmatch(path):
            return min(settings.max_inline_bytes, settings.max_upload_bytes)
        return settings.max_json_bytes

    return get_limit


def is_upload(path: str) -> bool:
    """Return whether the body of a request with this path is written to a file while it is received."""
    return UPLOAD_PATHS.fullmatch(path) is not None


def _build_lifespan(settings: Settings, provided: State | None, tracing: Tracing | None) -> Lifespan:
    @asynccontextmanager
    async def run_lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, State]]:
        async with AsyncExitStack() as stack:
            if tracing is not None:
                stack.push_async_callback(tracing.close)
            state = provided if provided is not None else await open_state(settings, stack, tracing)
            if provided is None:
                await stack.enter_async_context(run_periodically(state.submission.resolve_waiting_jobs))
                await stack.enter_async_context(
                    run_periodically(state.upload_completion.resume_inspections, interval_s=UPLOAD_POLL_S)
                )
                await stack.enter_async_context(
                    run_periodically(state.deleted_models.unload_deleted, interval_s=DELETED_MODELS_POLL_S)
                )
                await stack.enter_async_context(
                    run_periodically(state.model_server.expire_unused, interval_s=UNUSED_MODELS_POLL_S)
                )
            await state.model_server.start()
            await stack.enter_async_context(
                preload_models(settings.pinned_models, state.version_cache, state.model_server, state.rollover)
            )
            if provided is None:
                freeze_gc()
                lower_switch_interval()
            yield {STATE_KEY: state}

    return run_lifespan
