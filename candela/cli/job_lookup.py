"""Finds the job that a user means: by its id, the start of its id, its name, or as the latest job."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from candela.errors import CandelaError

if TYPE_CHECKING:
    from candela.client import Client
    from candela.jobs import Job

LATEST = "latest"
ID_LENGTH = 32
MAX_CANDIDATES = 5  # that are listed if a reference is ambiguous
_ID_PREFIX = re.compile(rf"[0-9a-f]{{1,{ID_LENGTH}}}")


class AmbiguousJob(CandelaError):
    """Several jobs match a reference; `candidates` are the first of them."""

    def __init__(self, ref: str, candidates: Sequence["Job"]) -> None:
        self.candidates = [{"id": job.id, "name": job.name, "state": job.state} for job in candidates[:MAX_CANDIDATES]]
        lines = [f"  {job['id']}  {job['name']}  {job['state']}" for job in self.candidates]
        more = ["  …"] if len(candidates) > MAX_CANDIDATES else []
        super().__init__("\n".join([f"several jobs match {ref!r}; use more digits of the id:", *lines, *more]))


def find_job(client: "Client", ref: str) -> "Job":
    """Return the job. A reference is an id, the start of an id, a name, or `latest`.

    It costs one request for an id, and at most three otherwise. Each reads a few rows of an index of the database.

    Raises:
        CandelaError: no job matches, or several jobs do.
    """
    prefix = ref.strip().lower()
    if len(prefix) == ID_LENGTH and _ID_PREFIX.fullmatch(prefix):
        return client.jobs.get(prefix)
    return client.jobs.get(find_job_id(client, ref))


def find_job_id(client: "Client", ref: str) -> str:
    """Return the id of the job that `find_job` returns, without a request if `ref` is a complete id."""
    text = ref.strip()
    if text == LATEST:
        newest = list(client.jobs.list(limit=1))
        if not newest:
            raise CandelaError("there are no jobs yet, so none is the latest")
        return newest[0].id
    prefix = text.lower()
    is_prefix = _ID_PREFIX.fullmatch(prefix) is not None
    if is_prefix and len(prefix) == ID_LENGTH:
        return prefix
    found = list(client.jobs.list(id=prefix, limit=MAX_CANDIDATES + 1)) if is_prefix else []
    if not found and _is_name(text):
        found = list(client.jobs.list(name=text, limit=MAX_CANDIDATES + 1))
    if not found:
        raise CandelaError(f"no job has the id or the name {ref!r}; `candela jobs` lists the jobs")
    if len(found) > 1:
        raise AmbiguousJob(ref, found)
    return found[0].id


def _is_name(text: str) -> bool:
    """Return whether the server accepts the text as a name. It refuses other texts as invalid."""
    return re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", text) is not None
