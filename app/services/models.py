"""Registers and lists models, fetches their bundles and sets aliases."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from app.services.job_submission import JobSubmission
from app.services.jobs import JobView
from app.services.model_card import build_model_card
from app.services.submission_store import Submission
from app.services.validation.report import reject
from core.db.repos.descriptions import Description, DescriptionRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.model_lists import DescribedVersion, ListedModel, ModelListRepo
from core.db.repos.models import ModelNotFound, ModelRepo
from core.db.repos.variants import VariantRepo
from core.db.session import on_commit, release_connection
from core.db.tables import ModelVariantRow, ModelVersionRow
from core.environment import select_environment
from core.jobs import ResourceKind
from core.spec import SERVED_VARIANTS, RegisterSpec, VariantFormat
from core.spec.reserved_names import find_name_error
from core.storage import Storage

BUNDLE_FILES = ("weights.safetensors", "bundle.json")


class ModelSubmission:
    """Submits jobs that register networks without training."""

    def __init__(self, submission: JobSubmission) -> None:
        self._submission = submission

    async def submit_model(
        self, name: str, fields: dict[str, Any], *, idempotency_key: str | None, traceparent: str | None
    ) -> JobView:
        """Submit a job that registers a network as a model. `fields` are those of `RegistrationFields`.

        Raises:
            InvalidSpec: the network cannot be built, a default is missing, or the name is reserved.
        """
        if reason := find_name_error(name):
            reject("/name", reason)
        spec = RegisterSpec(kind="register", model=name, **fields)
        return await self._submission.submit_job(Submission(spec, idempotency_key, traceparent=traceparent))


class ModelView(NamedTuple):
    """A model with its newest versions (newest first), its aliases, and the variant that each alias selects.

    Attributes:
        versions_cursor: the cursor of the other versions, if any.
        description: the description of the whole model.
    """

    name: str
    versions: Sequence[DescribedVersion]
    versions_cursor: str | None
    aliases: dict[str, int]
    alias_variants: dict[str, str]
    description: Description


class ModelService:
    """Manages registered models. Every method runs in the caller's transaction."""

    def __init__(
        self, session: Session, storage: Storage, *, on_alias_changed: Callable[[str], None] = lambda _: None
    ) -> None:
        """Initialize the service. `on_alias_changed` is called with the model's name after the commit of a change."""
        self._session = session
        self._on_alias_changed = on_alias_changed
        self._models = ModelRepo(session)
        self._lists = ModelListRepo(session)
        self._variants = VariantRepo(session)
        self._storage = storage

    def list_models(
        self, *, after: str | None, limit: int, tags: Sequence[str] = ()
    ) -> tuple[list[ModelView], str | None]:
        """Return a page of models in alphabetical order, and the value of `after` for the next page.

        With `tags`, only the models that have all of them, themselves or at one of their versions.
        """
        models, next_after = self._lists.list_models(after=after, limit=limit, tags=tags)
        return self._build_views(models), next_after

    def get_model(self, name: str) -> ModelView:
        """Return a model with its newest versions and its aliases. Raises NotFound."""
        model = self._lists.find_model(name)
        if model is None:
            raise ModelNotFound(f"Model {name!r} does not exist.")
        return self._build_views([model])[0]

    def list_versions(self, name: str, *, cursor: str | None, limit: int) -> tuple[list[DescribedVersion], str | None]:
        """Return a page of the versions of a model, newest first, and the cursor of the next page.

        Raises:
            NotFound: the model does not exist.
            InvalidSpec: the cursor is invalid.
        """
        versions, next_cursor = self._lists.list_versions(name, cursor=cursor, limit=limit)
        if not versions:
            self._models.require_model(name)
        return versions, next_cursor

    def get_version(self, name: str, version: int) -> ModelVersionRow:
        """Return a version of a model. Raises NotFound."""
        return self._models.get(name, version)

    def get_version_description(self, row: ModelVersionRow) -> Description:
        """Return the description of a version."""
        return DescriptionRepo(self._session, ResourceKind.MODEL).get(row.name, row.version)

    def build_card(self, name: str, version: int) -> str:
        """Return the model card of a version in Markdown. Raises NotFound."""
        row = self._models.get(name, version)
        job = JobRepo(self._session).find(row.job_id)
        environment = {} if job is None else select_environment(job.runtime or {})
        return build_model_card(row, self.get_version_description(row).description, environment)

    def list_version_aliases(self, row: ModelVersionRow) -> list[str]:
        """Return the aliases of a version."""
        return sorted(alias for alias, version in self._models.get_aliases(row.name).items() if version == row.version)

    def list_version_variants(self, row: ModelVersionRow) -> list[ModelVariantRow]:
        """Return the variants of a version."""
        return self._variants.list_variants(row.name, row.version)

    def fetch_bundle(self, name: str, version: int) -> list[Path]:
        """Return the files of a version's bundle.

        Raises:
            NotFound: the version does not exist.
            CorruptFile: the checksum of a stored file does not match.
        """
        row = self._models.get(name, version)
        release_connection(self._session)
        folder = self._storage.fetch(row.key, {file: row.files[file]["sha256"] for file in BUNDLE_FILES})
        return [folder / file for file in BUNDLE_FILES]

    def set_alias(self, name: str, alias: str, version: int, variant: VariantFormat | None = None) -> ModelView:
        """Point `name@alias` to a version and optionally to a variant. Running predictions are not affected.

        Raises:
            NotFound: the version or variant does not exist.
            InvalidSpec: the variant cannot be served, or the alias is a number or `latest`.
        """
        if variant is not None:
            self._models.get(name, version)
            self._variants.get(name, version, variant)
            if variant not in SERVED_VARIANTS:
                reject("/variant", f"{variant!r} cannot be served; use one of {', '.join(SERVED_VARIANTS)}")
        self._models.set_alias(name, alias, version, variant)
        on_commit(self._session, lambda: self._on_alias_changed(name))
        return self.get_model(name)

    def _build_views(self, models: Sequence[ListedModel]) -> list[ModelView]:
        names = [model.name for model in models]
        descriptions, rows = self._lists.list_descriptions(names), self._lists.list_aliases(names)
        views = []
        for model in models:
            aliases = [row for row in rows if row.name == model.name]
            numbers = {row.alias: row.version for row in aliases}
            variants = {row.alias: row.variant for row in aliases if row.variant is not None}
            views.append(ModelView(*model, numbers, variants, descriptions.get(model.name, Description())))
        return views
