"""Deletes models, versions and aliases."""

from collections.abc import Callable, Sequence

from anyio.to_thread import run_sync
from sqlalchemy.orm import Session

from app.services.in_use import MAX_LISTED, build_in_use_error
from app.services.prediction.deleted_models import DeletedModelUnloader
from app.services.prediction.version_cache import VersionCache
from app.serving.unload_state import UnloadedModels
from core.db.repos.model_dependents import ModelDependentRepo
from core.db.repos.models import ModelRepo
from core.db.session import SessionFactory, transaction
from core.errors import NotFound

_HINT = "Cancel them or wait until they have ended."


class ModelDeletion:
    """Deletes models, and unloads them from this process. Requests in flight are answered.

    The rows are deleted at once. Maintenance deletes the files when nothing refers to them.

    Args:
        unloaded: the names of the models that clients have unloaded.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        version_cache: VersionCache,
        unloader: DeletedModelUnloader,
        unloaded: UnloadedModels,
    ) -> None:
        self._sessions = sessions
        self._version_cache = version_cache
        self._unloader = unloader
        self._unloaded = unloaded

    async def delete_model(self, name: str) -> None:
        """Delete a model with its versions, variants and aliases.

        Raises:
            NotFound: the model does not exist.
            ResourceInUse: jobs or sweeps that have not ended require a version of the model.
        """
        await self._run(lambda session: _delete_model(session, name))
        self._version_cache.invalidate(name)
        self._unloaded.discard(name)  # a later model of this name is not unloaded
        self._unloader.unload_versions(name)

    async def delete_version(self, name: str, version: int) -> None:
        """Delete a version with its variants.

        Raises:
            NotFound: the version does not exist.
            ResourceInUse: an alias refers to the version, or jobs or sweeps that have not ended require it.
        """
        await self._run(lambda session: _delete_version(session, name, version))
        self._version_cache.invalidate(name)
        self._unloader.unload_versions(name, version)

    async def delete_alias(self, name: str, alias: str) -> None:
        """Delete an alias. Its version remains.

        Raises:
            NotFound: the alias does not exist.
            ResourceInUse: jobs that wait for the import of their dataset, or sweeps, require the alias.
        """
        await self._run(lambda session: _delete_alias(session, name, alias))
        self._version_cache.invalidate(name)

    async def _run(self, delete: Callable[[Session], None]) -> None:
        await run_sync(self._run_in_transaction, delete)

    def _run_in_transaction(self, delete: Callable[[Session], None]) -> None:
        with transaction(self._sessions) as session:
            delete(session)


def _delete_model(session: Session, name: str) -> None:
    models = ModelRepo(session)
    rows = models.lock_all(name)  # first, so that no job that requires a version is stored after the check
    dependents = ModelDependentRepo(session)
    _refuse_dependents(f"model {name!r}", dependents.list_jobs(name), dependents.list_sweeps(name))
    models.delete_versions(rows)


def _delete_version(session: Session, name: str, version: int) -> None:
    models = ModelRepo(session)
    row = models.lock(name, version)
    aliases = sorted(alias for alias, number in models.get_aliases(name).items() if number == version)
    if aliases:
        detail = (
            f"Aliases refer to version {version} of model {name!r}: {', '.join(aliases[:MAX_LISTED])}. Point them to "
            "another version or delete them first."
        )
        raise build_in_use_error(detail, [f"{name}@{alias}" for alias in aliases], "alias")
    dependents = ModelDependentRepo(session)
    jobs, sweeps = dependents.list_jobs(name, {version}), dependents.list_sweeps(name, {version})
    _refuse_dependents(f"version {version} of model {name!r}", jobs, sweeps)
    models.delete_versions([row])


def _delete_alias(session: Session, name: str, alias: str) -> None:
    models = ModelRepo(session)
    existing = models.get_aliases(name)
    if alias not in existing:
        models.require_model(name)
        raise NotFound(f"Model {name!r} has no alias {alias!r}.", known=sorted(existing))
    dependents = ModelDependentRepo(session)
    jobs, sweeps = dependents.list_jobs_by_alias(name, alias), dependents.list_sweeps_by_alias(name, alias)
    _refuse_dependents(f"alias {alias!r} of model {name!r}", jobs, sweeps)
    models.delete_alias(name, alias)


def _refuse_dependents(resource: str, job_ids: Sequence[str], sweep_ids: Sequence[str]) -> None:
    for kind, ids in (("job", job_ids), ("sweep", sweep_ids)):
        if ids:
            detail = f"{len(ids)} {kind}s that have not ended require {resource}. {_HINT}"
            raise build_in_use_error(detail, ids, kind)
