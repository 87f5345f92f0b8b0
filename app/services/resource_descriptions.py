"""Changes the descriptions and tags of models, datasets and their versions."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from core.datasets import builtin
from core.db.repos.datasets import DatasetRepo
from core.db.repos.descriptions import WHOLE, DescriptionRepo
from core.db.repos.models import ModelRepo
from core.errors import NotFound
from core.jobs import ResourceKind


class ResourceDescriptionService:
    """Changes descriptions. `changes` has a new `description`, new `tags`, or both.

    Every method runs in the caller's transaction.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def describe_model(self, name: str, changes: Mapping[str, Any]) -> None:
        """Describe a model. Raises NotFound."""
        ModelRepo(self._session).require_model(name)
        self._change(ResourceKind.MODEL, name, WHOLE, changes)

    def describe_model_version(self, name: str, version: int, changes: Mapping[str, Any]) -> None:
        """Describe a version of a model. Raises NotFound."""
        ModelRepo(self._session).lock(name, version, is_shared=True)
        self._change(ResourceKind.MODEL, name, version, changes)

    def describe_dataset(self, name: str, changes: Mapping[str, Any]) -> None:
        """Describe a dataset, also a built-in one that no job has used. Raises NotFound."""
        if name not in builtin.list_names() and not DatasetRepo(self._session).list_versions([name]):
            raise NotFound(f"Dataset {name!r} does not exist.")
        self._change(ResourceKind.DATASET, name, WHOLE, changes)

    def describe_dataset_version(self, name: str, version: int, changes: Mapping[str, Any]) -> None:
        """Describe a version of a dataset. Raises NotFound."""
        DatasetRepo(self._session).lock(name, version, is_shared=True)
        self._change(ResourceKind.DATASET, name, version, changes)

    def _change(self, kind: ResourceKind, name: str, version: int, changes: Mapping[str, Any]) -> None:
        DescriptionRepo(self._session, kind).change(name, version, changes)
