"""The position of a client in the events of many jobs, which a server-sent event has as its id.

The id is the only thing that a client keeps, so that any API process can continue its stream. It has the number of the
last received event of each job, and one time for the jobs that have had no event for a while.
"""

import base64
import binascii
import struct
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from core.errors import InvalidSpec
from core.events import Event

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_ENTRIES = 400
"""Jobs in an id. A header of this length is accepted by common proxies (8 KiB)."""
MAX_ID_LENGTH = 6500
ID_PATTERN = r"^[A-Za-z0-9_-]*$"
_TIME, _ENTRY = struct.Struct(">Q"), struct.Struct(">8sI")  # microseconds; hash of the job id and event number
_MAX_TIME_US = (datetime(9999, 1, 1, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


class _Entry(NamedTuple):
    """The number and the time of the last received event of a job."""

    seq: int
    at: datetime


class EventPosition:
    """The last event that a client received of each job.

    A job without an entry is at its last event that is not later than `cutoff`. Every job whose received events are
    later has an entry.

    Args:
        cutoff: default: all jobs without an entry are before their first event.
    """

    def __init__(self, cutoff: datetime = EPOCH) -> None:
        self.cutoff = cutoff
        self._entries: dict[bytes, _Entry] = {}

    @classmethod
    def decode(cls, text: str, *, now: datetime) -> "EventPosition":
        """Return the position in an event id. An empty text is the position before all events.

        Args:
            text: the id.
            now: a time at which the client had the id. It becomes the time of the entries.

        Raises:
            InvalidSpec: the text is not an id that `encode` returned.
        """
        try:
            packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise _build_error(text) from None
        if not packed:
            return cls()
        rest = packed[_TIME.size :]
        if len(packed) < _TIME.size or len(rest) % _ENTRY.size or len(rest) > MAX_ENTRIES * _ENTRY.size:
            raise _build_error(text)
        (time_us,) = _TIME.unpack_from(packed)
        if time_us > _MAX_TIME_US:
            raise _build_error(text)
        position = cls(EPOCH + timedelta(microseconds=time_us))
        position._entries = {key: _Entry(seq, now) for key, seq in _ENTRY.iter_unpack(rest)}
        return position

    def encode(self) -> str:
        """Return the id of the last received event.

        With more than `MAX_ENTRIES` entries, the oldest are omitted: events of these jobs are then sent again.
        """
        entries = self._entries
        if len(entries) > MAX_ENTRIES:
            newest_first = sorted(entries.items(), key=lambda item: item[1].at, reverse=True)
            entries = dict(islice(newest_first, MAX_ENTRIES))
        time_us = (self.cutoff - EPOCH) // timedelta(microseconds=1)
        packed = _TIME.pack(time_us) + b"".join([_ENTRY.pack(key, entry.seq) for key, entry in entries.items()])
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")

    def find_number(self, job_id: str) -> int | None:
        """Return the number of the last received event of a job, or None if the job has no entry."""
        entry = self._entries.get(_hash_id(job_id))
        return None if entry is None else entry.seq

    def set_number(self, job_id: str, seq: int, at: datetime) -> None:
        """Record that a job's events were received up to the number `seq`, whose event has the time `at`."""
        self._entries[_hash_id(job_id)] = _Entry(seq, at)

    def add_event(self, event: Event) -> None:
        """Record that an event was received."""
        self._entries[_hash_id(event.job_id)] = _Entry(event.seq, event.at)

    def advance_cutoff(self, cutoff: datetime) -> None:
        """Set a later cutoff. All events up to this time must have been received."""
        self.cutoff = cutoff
        self._entries = {key: entry for key, entry in self._entries.items() if entry.at > cutoff}


@lru_cache(maxsize=10_000)
def _hash_id(job_id: str) -> bytes:
    """Return the first 8 bytes of a random id, which are enough to distinguish a few hundred jobs."""
    try:
        return bytes.fromhex(job_id[:16].rjust(16, "0"))
    except ValueError:
        return job_id.encode()[:8].rjust(8, b"\0")


def _build_error(text: str) -> InvalidSpec:
    reason = f"must be the id of an event of this path; got {text[:40]!r}"
    return InvalidSpec(f"Last-Event-ID {reason}.", errors=[("Last-Event-ID:", reason)])
