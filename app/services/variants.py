"""Manages variants of model versions: their exported, compiled or quantized networks."""

from collections.abc import Callable
from typing import Any

from anyio.to_thread import run_sync
from sqlalchemy.orm import Session

from app.services.job_submission import JobSubmission
from app.services.jobs import JobView
from app.services.results import ResultFile
from app.services.submission_store import Submission
from app.services.validation.report import reject
from app.services.validation.resolve import get_training_dataset
from core.db.repos.models import ModelRepo
from core.db.repos.variants import VariantRepo
from core.db.session import SessionFactory, on_commit, release_connection, transaction
from core.db.tables import ModelVariantRow
from core.errors import NotFound
from core.spec import DatasetSpec, RequestedFormat, VariantFormat, VariantSpec
from core.storage import Storage


class VariantSubmission:
    """Submits jobs that create variants."""

    def __init__(self, sessions: SessionFactory, submission: JobSubmission) -> None:
        self._sessions = sessions
        self._submission = submission

    async def submit_variant(
        self,
        name: str,
        version: int,
        kind: RequestedFormat,
        options: dict[str, Any],
        *,
        idempotency_key: str | None,
        traceparent: str | None,
    ) -> JobView:
        """Submit a job that creates a variant and evaluates the variant, by default on the dataset of the training.

        Raises:
            NotFound: the version does not exist.
            InvalidSpec: the variant cannot be created with these options, or there is no dataset.
        """
        dataset = options.pop("dataset") or await run_sync(self._get_training_dataset, name, version)
        if dataset is None:
            reject("/dataset", "is required: the version was registered without training, so that it has no dataset")
        spec = VariantSpec(
            kind="variant",
            model=f"{name}@{version}",
            dataset=dataset,
            format=kind,
            **options,
        )
        return await self._submission.submit_job(Submission(spec, idempotency_key, traceparent=traceparent))

    def _get_training_dataset(self, name: str, version: int) -> DatasetSpec | None:
        with transaction(self._sessions, read_only=True) as session:
            return get_training_dataset(ModelRepo(session).get(name, version))


class VariantService:
    """Lists, deletes and fetches variants. Every method runs in the caller's transaction."""

    def __init__(
        self, session: Session, storage: Storage, *, on_deleted: Callable[[str], None] = lambda _: None
    ) -> None:
        """Initialize the service. `on_deleted` is called with the model's name after the commit of a deletion."""
        self._session = session
        self._on_deleted = on_deleted
        self._models = ModelRepo(session)
        self._variants = VariantRepo(session)
        self._storage = storage

    def list_variants(self, name: str, version: int) -> list[ModelVariantRow]:
        """Return the variants of a version. Raises NotFound."""
        self._models.get(name, version)
        return self._variants.list_variants(name, version)

    def get_variant(self, name: str, version: int, kind: VariantFormat) -> ModelVariantRow:
        """Return a variant. Raises NotFound."""
        self._models.get(name, version)
        return self._variants.get(name, version, kind)

    def delete_variant(self, name: str, version: int, kind: VariantFormat) -> None:
        """Delete a variant. Raises NotFound, or ResourceInUse if an alias refers to the variant."""
        self._models.get(name, version)
        self._variants.delete(name, version, kind)
        on_commit(self._session, lambda: self._on_deleted(name))

    def fetch_file(self, name: str, version: int, kind: VariantFormat, file_name: str | None = None) -> ResultFile:
        """Return a file of a variant; default: its main file, which contains the network.

        Raises:
            NotFound: the variant or file does not exist.
            CorruptFile: the checksum of the stored file does not match.
        """
        row = self.get_variant(name, version, kind)
        requested = file_name or row.measured["file"]
        if requested not in row.files:
            raise NotFound(f"The variant has no file {requested!r}.", known=sorted(row.files))
        sha256 = row.files[requested]["sha256"]
        release_connection(self._session)
        folder = self._storage.fetch(row.key, {requested: sha256})
        return ResultFile(folder / requested, sha256, f"{name}-{version}-{requested}")
