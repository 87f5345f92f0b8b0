"""The state of an HTTP process: the connections, caches and services that its endpoints share."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial

import structlog
from anyio import CapacityLimiter
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.requests import Request

from app.http.event_response import EventConnections
from app.http.tracing import Tracing
from app.services.browser_sessions import BrowserSessions
from app.services.dataset_samples import SplitCache
from app.services.datasets import DatasetService
from app.services.event_streams import EventStreams
from app.services.job_submission import JobSubmission
from app.services.jobs import JobService
from app.services.model_deletion import ModelDeletion
from app.services.prediction.default_variants import DefaultVariants
from app.services.prediction.deleted_models import DeletedModelUnloader
from app.services.prediction.explanations import ExplanationService
from app.services.prediction.inference import InferenceService
from app.services.prediction.predictions import PredictionService
from app.services.prediction.version_cache import VersionCache
from app.services.readiness import ReadinessProbe, build_checks
from app.services.resumable_uploads import ResumableUploadService
from app.services.submission_store import SubmissionStore
from app.services.sweep_importance import SweepImportanceService
from app.services.sweep_submission import SweepSubmission
from app.services.sweeps import SweepService
from app.services.upload_completion import UploadCompletion
from app.serving.decoding import Decoder
from app.serving.model_server import ModelServer
from app.serving.process_pool import InferenceProcessPool
from app.serving.rollover import VersionRollover
from app.serving.unload_state import UnloadedFiles, UnloadedModels
from core.bus import Bus, RedisBus
from core.datasets.archives.configured_limits import build_upload_limits
from core.db.repos.uploads import OpenUploadLimits
from core.db.schema import check_schema
from core.db.session import SessionFactory, make_engine, make_session_factory
from core.errors import DatabaseUnreachable
from core.logging import configure_logging
from core.outbox import OutboxRelay
from core.queue import CeleryQueue, Queue
from core.settings import Settings
from core.storage import Storage, open_storage

log = structlog.get_logger(__name__)

NUM_MISSED_HEARTBEATS = 3  # a worker that missed this many heartbeats counts as lost
MAX_DOWNLOAD_THREADS = 8
STATE_KEY = "candela"
"""The key of the state in the ASGI scope's `state`."""


@dataclass(kw_only=True)
class State:
    """Connections and services that exist as long as the process. `open_state` creates them from the settings.

    Attributes:
        relay: sends the messages of the outbox table to the queue.
        download_threads: threads that fetch files from the storage; slow downloads use no other threads.
        split_cache: splits of datasets that are open to show their samples.
        model_server: loads models and batches predictions.
        version_cache: maps model references such as `digits@champion` to versions.
        rollover: chooses the versions that serve requests.
    """

    settings: Settings
    sessions: SessionFactory
    queue: Queue
    relay: OutboxRelay
    bus: Bus
    storage: Storage
    model_server: ModelServer
    decoder: Decoder
    download_threads: CapacityLimiter = field(default_factory=partial(CapacityLimiter, MAX_DOWNLOAD_THREADS))
    split_cache: SplitCache = field(default_factory=SplitCache)
    event_connections: EventConnections = field(default_factory=EventConnections)
    submission: JobSubmission = field(init=False)
    sweep_submission: SweepSubmission = field(init=False)
    sweep_importance: SweepImportanceService = field(init=False)
    version_cache: VersionCache = field(init=False)
    rollover: VersionRollover = field(init=False)
    event_streams: EventStreams = field(init=False)
    browser_sessions: BrowserSessions = field(init=False)
    predictions: PredictionService = field(init=False)
    explanations: ExplanationService = field(init=False)
    inference: InferenceService = field(init=False)
    deleted_models: DeletedModelUnloader = field(init=False)
    model_deletion: ModelDeletion = field(init=False)
    readiness: ReadinessProbe = field(init=False)
    upload_completion: UploadCompletion = field(init=False)
    resumable_uploads: ResumableUploadService = field(init=False)

    def __post_init__(self) -> None:
        settings, sessions, decoder, model_server = self.settings, self.sessions, self.decoder, self.model_server
        self.submission = JobSubmission(
            sessions,
            self._build_submission_store,
            datasets_dir=settings.datasets_dir,
            architectures=model_server.backend,
        )
        self.sweep_submission = SweepSubmission(
            sessions,
            self.submission,
            open_datasets=self.build_dataset_service,
            open_sweeps=self.build_sweep_service,
            wake=self.relay.wake,
        )
        self.sweep_importance = SweepImportanceService(sessions)
        default_variants = build_default_variants(settings, model_server)
        self.version_cache = VersionCache(sessions, default_variants)
        self.rollover = VersionRollover(model_server)
        self.event_streams = EventStreams(sessions, self.bus)
        self.browser_sessions = BrowserSessions(
            sessions,
            [key.get_secret_value() for key in settings.api_keys],
            idle_s=settings.session_idle_s,
            lifetime_s=settings.session_lifetime_s,
        )
        self.predictions = PredictionService(self.version_cache, decoder, model_server, self.rollover)
        self.explanations = ExplanationService(self.version_cache, decoder, model_server)
        unloaded = UnloadedFiles(settings.rendezvous_dir / "unloaded") if settings.rendezvous_dir else set[str]()
        self.deleted_models = DeletedModelUnloader(sessions, model_server)
        self.model_deletion = ModelDeletion(sessions, self.version_cache, self.deleted_models, unloaded)
        self.inference = self._build_inference_service(unloaded, default_variants)
        self.readiness = ReadinessProbe(build_checks(sessions, self.storage, self.queue, model_server.backend))
        self.upload_completion = UploadCompletion(
            sessions, self.storage, self.build_dataset_service, settings.upload_expiry_s
        )
        self.resumable_uploads = ResumableUploadService(
            sessions,
            self.storage,
            self.upload_completion,
            max_bytes=settings.max_upload_bytes,
            limits=OpenUploadLimits(settings.max_open_uploads, settings.max_open_upload_bytes),
            expiry_s=settings.upload_expiry_s,
        )

    def build_dataset_service(self, session: Session) -> DatasetService:
        """Return a dataset service that uses an open session."""
        limits = build_upload_limits(self.settings)
        return DatasetService(
            session,
            self.storage,
            wake=self.relay.wake,
            limits=limits,
            list_architectures=self.model_server.backend.list_architectures,
        )

    def build_job_service(self, session: Session) -> JobService:
        """Return a job service that uses an open session."""
        silence_s = get_worker_silence_s(self.settings)
        return JobService(
            session,
            self.storage,
            wake=self.relay.wake,
            worker_silence_s=silence_s,
            queues_variants=self.settings.queues_variants,
        )

    def build_sweep_service(self, session: Session) -> SweepService:
        """Return a sweep service that uses an open session."""
        return SweepService(session, wake=self.relay.wake)

    def _build_inference_service(self, unloaded: UnloadedModels, default_variants: DefaultVariants) -> InferenceService:
        return InferenceService(
            self.sessions,
            self.version_cache,
            self.decoder,
            self.model_server,
            max_batch_size=self.settings.max_batch_size,
            unloaded=unloaded,
            rollover=self.rollover,
            default_variants=default_variants,
        )

    def _build_submission_store(self, session: Session) -> SubmissionStore:
        return SubmissionStore(session, self.build_dataset_service(session), self.build_job_service(session))


def get_worker_silence_s(settings: Settings) -> float:
    """Return the number of seconds without a heartbeat after which a worker counts as lost."""
    return NUM_MISSED_HEARTBEATS * settings.heartbeat_s


def get_state(request: Request) -> State:
    """Return the state of the process that handles the request."""
    state: State = request.scope["state"][STATE_KEY]
    return state


async def open_state(settings: Settings, stack: AsyncExitStack, tracing: Tracing | None) -> State:
    """Open the connections and start the background threads. Closing `stack` closes them in reverse order."""
    configure_logging(settings.log_level)
    engine = make_engine(settings.sqlalchemy_url)
    stack.callback(engine.dispose)
    require_current_schema(engine)
    bus = RedisBus(settings.redis_url)
    stack.push_async_callback(bus.aclose)
    sessions = make_session_factory(engine, bus.publish)
    queue = CeleryQueue(settings.redis_url)
    relay = OutboxRelay(sessions, queue)
    relay.start()
    stack.callback(relay.close)
    storage = open_storage(
        settings.effective_storage_url, cache=settings.cache_dir, max_cache_bytes=settings.max_cache_bytes
    )
    model_server = build_model_server(settings, storage, tracing)
    stack.push_async_callback(model_server.close)
    decoder = build_decoder(settings)
    stack.callback(decoder.close)
    return State(
        settings=settings,
        sessions=sessions,
        queue=queue,
        relay=relay,
        bus=bus,
        storage=storage,
        model_server=model_server,
        decoder=decoder if tracing is None else tracing.wrap_decoder(decoder),
    )


def build_decoder(settings: Settings) -> Decoder:
    """Return an image decoder with the limits that the settings define."""
    return Decoder(
        max_waiting=settings.max_waiting_predictions,
        max_bytes=settings.max_image_bytes,
        max_pixels=settings.max_image_pixels,
    )


def build_default_variants(settings: Settings, model_server: ModelServer) -> DefaultVariants:
    """Return what finds the variants that serve requests by default."""
    return DefaultVariants(
        is_enabled=settings.predict_variant == "auto",
        devices=settings.predict_devices,
        list_devices=model_server.backend.list_devices,
    )


def build_model_server(settings: Settings, storage: Storage, tracing: Tracing | None) -> ModelServer:
    """Return a model server that runs models in inference processes. The processes are not started yet."""
    return ModelServer(
        storage,
        InferenceProcessPool(settings.predict_devices, settings.rendezvous_dir, settings.child_variables),
        max_batch_size=settings.max_batch_size,
        max_waiting=settings.max_waiting_predictions,
        max_loaded=settings.max_loaded_models,
        max_wait_s=settings.max_predict_wait_s,
        max_bytes=settings.effective_max_model_bytes,
        precision=settings.predict_precision,
        num_http_processes=settings.http_processes,
        max_metric_models=settings.max_metric_models,
        observer=None if tracing is None else tracing.build_observer(),
    )


def require_current_schema(engine: Engine) -> None:
    """Check the version of the database schema. If the database is unreachable, only log a warning.

    Raises:
        ConfigurationError: the schema is older or newer than this code requires, or the database is damaged.
    """
    try:
        check_schema(engine)
    except DatabaseUnreachable as error:
        log.warning("database.connection_failed", error=str(error))
