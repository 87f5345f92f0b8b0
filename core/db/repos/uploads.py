"""Queries for resumable uploads and their parts."""

import uuid
from collections.abc import Collection
from typing import Any, NamedTuple

from sqlalchemy import Select, Update, delete, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from core.db import cursor as cursors
from core.db.clock import now
from core.db.upload_tables import UploadPartRow, UploadRow
from core.errors import LostLease, NotFound, TooManyUploads
from core.jobs import OPEN_UPLOAD_STATES, UploadState

_Row = UploadRow


class OpenUploadLimits(NamedTuple):
    """The limits of the unfinished uploads of one owner: their number and their total size."""

    max_uploads: int
    max_bytes: int


class UploadPart(NamedTuple):
    """A stored part: the `size_bytes` bytes of the upload from `start_byte`, in the file `key` of the storage."""

    start_byte: int
    size_bytes: int
    key: str


class UploadRepo:
    """Queries for uploads. Methods with a `token` raise LostLease if the token no longer holds the lease."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(
        self,
        owner: str,
        dataset: str,
        length_bytes: int,
        *,
        options: dict[str, Any],
        metadata_header: str,
        limits: OpenUploadLimits,
        expiry_s: float,
    ) -> UploadRow:
        """Add an upload without bytes.

        Raises:
            TooManyUploads: the open uploads of the owner have reached a limit.
        """
        self._check_limits(owner, length_bytes, limits)
        row = _Row(
            id=uuid.uuid4().hex,
            owner=owner,
            dataset=dataset,
            options=options,
            metadata_header=metadata_header,
            length_bytes=length_bytes,
            state=UploadState.RECEIVING,
            created_at=now(self._session),
            expires_at=now(self._session, expiry_s),
        )
        self._session.add(row)
        self._session.flush()
        self._session.refresh(row)
        return row

    def find(self, upload_id: str) -> UploadRow | None:
        """Return an upload, also an expired one, or None."""
        return self._fetch_one(select(_Row).where(_Row.id == upload_id))

    def filter_open(self, upload_ids: Collection[str]) -> set[str]:
        """Return the ids of the uploads that have not ended."""
        query = select(_Row.id).where(_Row.id.in_(upload_ids), _Row.state.in_(OPEN_UPLOAD_STATES))
        return set(self._session.scalars(query))

    def get(self, upload_id: str, owner: str) -> UploadRow:
        """Return an upload of an owner.

        Raises:
            NotFound: the upload does not exist, has expired, or has another owner.
        """
        is_alive = _Row.expires_at > now(self._session)
        row = self._fetch_one(select(_Row).where(_Row.id == upload_id, _Row.owner == owner, is_alive))
        if row is None:
            raise NotFound("The upload does not exist or has expired; create a new one.")
        return row

    def list_page(self, owner: str, *, cursor: str | None, limit: int) -> tuple[list[UploadRow], str | None]:
        """Return a page of an owner's uploads, newest first, and the cursor of the next page, if any.

        Raises:
            InvalidSpec: the cursor is invalid.
        """
        query = select(_Row).where(_Row.owner == owner, _Row.expires_at > now(self._session))
        if cursor is not None:
            query = query.where(tuple_(_Row.created_at, _Row.id) < cursors.decode(cursor))
        query = query.order_by(_Row.created_at.desc(), _Row.id.desc()).limit(limit + 1)
        rows = list(self._session.scalars(query))
        last = rows[limit - 1] if len(rows) > limit else None
        return rows[:limit], cursors.encode(last.created_at, last.id) if last else None

    def list_parts(self, upload_id: str) -> list[UploadPart]:
        """List the parts of an upload in the order of their bytes."""
        query = select(UploadPartRow).where(UploadPartRow.upload_id == upload_id).order_by(UploadPartRow.start_byte)
        return [UploadPart(row.start_byte, row.size_bytes, row.key) for row in self._session.scalars(query)]

    def find_last_part(self, upload_id: str) -> UploadPart | None:
        query = select(UploadPartRow).where(UploadPartRow.upload_id == upload_id)
        row = self._session.scalars(query.order_by(UploadPartRow.start_byte.desc()).limit(1)).one_or_none()
        return UploadPart(row.start_byte, row.size_bytes, row.key) if row else None

    def claim(self, upload_id: str, offset: int, lease_s: float) -> UploadRow | None:
        """Claim an upload to append bytes at `offset`. Return None if it has another state, offset or claim."""
        condition = (_Row.state == UploadState.RECEIVING, _Row.received_bytes == offset, *self._build_unclaimed())
        return self._claim(update(_Row).where(_Row.id == upload_id, *condition), lease_s)

    def claim_inspection(self, upload_id: str, lease_s: float) -> UploadRow | None:
        """Claim an upload whose bytes are complete but that no process inspects. Return None if there is no such."""
        condition = (_Row.state == UploadState.INSPECTING, *self._build_unclaimed())
        return self._claim(update(_Row).where(_Row.id == upload_id, *condition), lease_s)

    def find_unclaimed_inspections(self, limit: int) -> list[str]:
        """Return the ids of complete uploads that no process inspects, oldest first."""
        query = select(_Row.id).where(_Row.state == UploadState.INSPECTING, *self._build_unclaimed())
        return list(self._session.scalars(query.order_by(_Row.created_at).limit(limit)))

    def renew_lease(self, upload_id: str, token: int, lease_s: float) -> None:
        """Set the end of the lease to `lease_s` seconds from now; 0 releases the lease."""
        self._update_claim(upload_id, token, lease_until=now(self._session, lease_s))

    def add_part(self, upload_id: str, token: int, part: UploadPart, *, lease_s: float, expiry_s: float) -> UploadRow:
        """Count the bytes of a stored part. The part replaces the part with the same start, if there is one.

        The state becomes `inspecting` with the last byte.
        """
        received = part.start_byte + part.size_bytes
        row = self._fetch_one(select(_Row).where(_Row.id == upload_id))
        is_complete = row is not None and received == row.length_bytes
        self._update_claim(
            upload_id,
            token,
            received_bytes=received,
            state=UploadState.INSPECTING if is_complete else UploadState.RECEIVING,
            lease_until=now(self._session, lease_s),
            expires_at=now(self._session, expiry_s),
        )
        at_start = (UploadPartRow.upload_id == upload_id, UploadPartRow.start_byte == part.start_byte)
        self._session.execute(delete(UploadPartRow).where(*at_start))
        self._session.add(UploadPartRow(upload_id=upload_id, **part._asdict()))
        self._session.flush()
        found = self.find(upload_id)
        assert found is not None  # noqa: S101 - for mypy: the row was updated in this transaction
        return found

    def finish(self, upload_id: str, token: int, *, version: int, expiry_s: float) -> None:
        """Store the dataset version that was created from an upload."""
        values = {"state": UploadState.SUCCEEDED, "version": version, "lease_until": None}
        self._update_claim(upload_id, token, **values, expires_at=now(self._session, expiry_s))
        self._delete_parts(upload_id)

    def fail(self, upload_id: str, token: int, problem: dict[str, Any], *, expiry_s: float) -> None:
        """Store why an upload was rejected."""
        values = {"state": UploadState.FAILED, "problem": problem, "lease_until": None}
        self._update_claim(upload_id, token, **values, expires_at=now(self._session, expiry_s))
        self._delete_parts(upload_id)

    def delete(self, upload_id: str) -> None:
        """Delete an upload. The caller deletes its files after the commit."""
        self._session.execute(delete(_Row).where(_Row.id == upload_id))

    def delete_expired(self, limit: int = 100) -> list[str]:
        """Delete expired uploads. Return their ids; the caller deletes their files after the commit."""
        query = select(_Row.id).where(_Row.expires_at < now(self._session), *self._build_unclaimed())
        ids = list(self._session.scalars(query.order_by(_Row.expires_at).limit(limit)))
        if ids:
            self._session.execute(delete(_Row).where(_Row.id.in_(ids)))
        return ids

    def _check_limits(self, owner: str, length_bytes: int, limits: OpenUploadLimits) -> None:
        is_open = (_Row.owner == owner, _Row.state.in_(OPEN_UPLOAD_STATES), _Row.expires_at > now(self._session))
        # The lock makes concurrent creations wait for each other on PostgreSQL. SQLite has one writer anyway.
        self._session.execute(select(_Row.id).where(*is_open).with_for_update()).all()
        totals = select(func.count(), func.coalesce(func.sum(_Row.length_bytes), 0)).where(*is_open)
        num_open, open_bytes = self._session.execute(totals).one()
        if num_open >= limits.max_uploads:
            raise TooManyUploads(
                f"{num_open} uploads are open, the maximum; complete or delete one of them.",
                max_open_uploads=limits.max_uploads,
            )
        if open_bytes + length_bytes > limits.max_bytes:
            raise TooManyUploads(
                f"The open uploads and this one have {open_bytes + length_bytes} bytes; the maximum is "
                f"{limits.max_bytes}. Complete or delete one of them.",
                max_open_upload_bytes=limits.max_bytes,
            )

    def _build_unclaimed(self) -> tuple[Any, ...]:
        return (or_(_Row.lease_until.is_(None), _Row.lease_until < now(self._session)),)

    def _claim(self, statement: Update, lease_s: float) -> UploadRow | None:
        values = {"token": _Row.token + 1, "lease_until": now(self._session, lease_s)}
        upload_id = self._execute_update(statement, **values)
        return self.find(upload_id) if upload_id else None

    def _update_claim(self, upload_id: str, token: int, **values: object) -> None:
        is_claimed = (_Row.id == upload_id, _Row.token == token, _Row.state.in_(OPEN_UPLOAD_STATES))
        if not self._execute_update(update(_Row).where(*is_claimed), **values):
            raise LostLease(f"Token {token} does not hold the lease of upload {upload_id}.")

    def _execute_update(self, change: Update, **values: object) -> str | None:
        returning = change.values(**values).returning(_Row.id).execution_options(synchronize_session=False)
        return self._session.execute(returning).scalar_one_or_none()

    def _delete_parts(self, upload_id: str) -> None:
        self._session.execute(delete(UploadPartRow).where(UploadPartRow.upload_id == upload_id))

    def _fetch_one(self, query: Select[UploadRow]) -> UploadRow | None:
        return self._session.scalars(query.execution_options(populate_existing=True)).one_or_none()
