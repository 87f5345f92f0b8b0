"""Unloads the models that were deleted, in each HTTP process."""

import asyncio
from collections.abc import Sequence

from app.serving.model_server import ModelServer
from app.serving.types import BundleRef
from core.db.repos.models import ModelRepo
from core.db.repos.variants import VariantRepo
from core.db.session import SessionFactory, transaction


class DeletedModelUnloader:
    """Unloads models whose version or variant no longer exists. Their requests in flight are still computed.

    Every HTTP process calls it periodically, because another process may have handled the deletion. Use it on one
    event loop only.
    """

    def __init__(self, sessions: SessionFactory, model_server: ModelServer) -> None:
        self._sessions = sessions
        self._model_server = model_server

    async def unload_deleted(self) -> None:
        """Unload all models that were deleted, and remove their statistics."""
        # Checkpoints of jobs are loaded without a version. The cache evicts them when they are not used.
        bundles = [bundle for bundle in self._model_server.list_bundles() if bundle.version]
        if bundles:
            for bundle in await asyncio.to_thread(self._find_deleted, bundles):
                self._model_server.forget(bundle)

    def unload_versions(self, name: str, version: int | None = None) -> None:
        """Unload a version that was deleted, with its variants; default: all versions of the model."""
        for bundle in self._model_server.list_bundles():
            if bundle.model == name and bundle.version and version in (None, parse_version(bundle)[0]):
                self._model_server.forget(bundle)

    def _find_deleted(self, bundles: Sequence[BundleRef]) -> list[BundleRef]:
        versions = {(bundle.model, parse_version(bundle)[0]) for bundle in bundles}
        with transaction(self._sessions, read_only=True) as session:
            keys = ModelRepo(session).filter_existing(versions)
            variant_keys = VariantRepo(session).list_keys(versions)
        deleted = []
        for bundle in bundles:
            number, variant = parse_version(bundle)
            version = bundle.model, number
            key = variant_keys.get((*version, variant)) if variant else keys.get(version)
            if key != bundle.key:
                deleted.append(bundle)
        return deleted


def parse_version(bundle: BundleRef) -> tuple[int, str]:
    """Return the number of a bundle's version, and the format of its variant; empty for the trained network."""
    number, _, variant = bundle.version.partition("-")
    return int(number), variant
