"""Creates dataset versions by editing other versions."""

from collections.abc import Callable, Sequence
from typing import Any

from app.services.datasets import build_not_ready_error
from app.services.validation.report import reject, reject_all
from core.datasets import builtin
from core.datasets.edits.class_plan import find_errors
from core.datasets.edits.operations import OperationSpec
from core.datasets.packed import PackedMeta
from core.db.repos.datasets import DatasetRepo
from core.db.repos.outbox import OutboxRepo
from core.db.session import SessionFactory, on_commit, transaction
from core.db.tables import DatasetVersionRow
from core.jobs import DatasetState
from core.spec.reserved_names import find_name_error


class DatasetEditService:
    """Submits edits of dataset versions.

    Args:
        wake: function that wakes the outbox relay; it is called after the commit.
    """

    def __init__(self, sessions: SessionFactory, *, wake: Callable[[], None]) -> None:
        self._sessions = sessions
        self._wake = wake

    def submit_edit(
        self, name: str, version: int, operations: Sequence[OperationSpec], target: str | None = None
    ) -> DatasetVersionRow:
        """Add a version that applies operations to another version, and queue its import.

        The operations are checked before the write transaction. Whether the samples exist is checked by the import.

        Args:
            name: the name of the dataset of the base version.
            version: the number of the base version.
            operations: the operations, in order.
            target: the name of the dataset that gets the new version; default: `name`.

        Raises:
            NotFound: the base version does not exist.
            DatasetNotReady: the import of the base version has not finished, or failed.
            InvalidSpec: an operation cannot be applied to the base version, or the dataset is a built-in dataset.
        """
        if target is not None and (reason := find_name_error(target)):
            reject("/name", reason)
        target = target or name
        if target in builtin.list_names():
            reject("/name", f"must be another name than that of the built-in dataset {target!r}, which cannot change")
        with transaction(self._sessions, read_only=True) as session:
            base = DatasetRepo(session).get_version(name, version)
        if base.state is not DatasetState.READY:
            raise build_not_ready_error(base)
        if errors := find_errors(operations, PackedMeta.model_validate(base.meta)):
            reject_all([(f"/operations{error.pointer}", error.reason) for error in errors])
        source: dict[str, Any] = {
            "kind": "edit",
            "options": {},
            "base": {"id": base.id, "name": name, "version": version},
            "operations": [operation.model_dump(mode="json") for operation in operations],
        }
        with transaction(self._sessions) as session:
            DatasetRepo(session).get(base.id)  # it may have been deleted
            row = DatasetRepo(session).add(target, source)
            OutboxRepo(session).add("import", row.id)
            on_commit(session, self._wake)
        return row
