"""Finds the job or sweep that a user means: by its id, the start of its id, its name, or as the latest one."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from candela.errors import CandelaError

if TYPE_CHECKING:
    from candela.client import Client
    from candela.jobs import Job

LATEST = "latest"
ID_LENGTH = 32
MAX_CANDIDATES = 5  # that are listed if a reference is ambiguous
_ID_PREFIX = re.compile(rf"[0-9a-f]{{1,{ID_LENGTH}}}")


class Candidate(NamedTuple):
    """A job or sweep that may be meant."""

    id: str
    name: str
    state: str


class AmbiguousReference(CandelaError):
    """Several jobs or sweeps match a reference; `candidates` are the first of them, `kind` is `job` or `sweep`."""

    def __init__(self, ref: str, kind: str, candidates: Sequence[Candidate]) -> None:
        self.kind = kind
        self.candidates = [each._asdict() for each in candidates[:MAX_CANDIDATES]]
        lines = [f"  {each['id']}  {each['name']}  {each['state']}" for each in self.candidates]
        more = ["  …"] if len(candidates) > MAX_CANDIDATES else []
        super().__init__("\n".join([f"several {kind}s match {ref!r}; use more digits of the id:", *lines, *more]))


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

    def search(**conditions: Any) -> list[Candidate]:  # noqa: ANN401 - arguments of `list`
        return [Candidate(job.id, job.name, job.state) for job in client.jobs.list(**conditions)]

    return find_id(ref, "job", search)


def find_sweep_id(client: "Client", ref: str) -> str:
    """Return the id of a sweep, whose reference is as that of a job. Raises CandelaError as `find_job`."""

    def search(**conditions: Any) -> list[Candidate]:  # noqa: ANN401 - arguments of `list`
        return [Candidate(each["id"], each["name"], each["state"]) for each in client.sweeps.list(**conditions)]

    return find_id(ref, "sweep", search)


def find_id(ref: str, kind: str, search: Callable[..., list[Candidate]]) -> str:
    """Return the id that a reference means. `search` finds jobs or sweeps by `id` or `name`, newest first.

    Raises:
        CandelaError: nothing matches, or several jobs or sweeps do.
    """
    text = ref.strip()
    if text == LATEST:
        newest = search(limit=1)
        if not newest:
            raise CandelaError(f"there are no {kind}s yet, so none is the latest")
        return newest[0].id
    prefix = text.lower()
    is_prefix = _ID_PREFIX.fullmatch(prefix) is not None
    if is_prefix and len(prefix) == ID_LENGTH:
        return prefix
    found = search(id=prefix, limit=MAX_CANDIDATES + 1) if is_prefix else []
    if not found and _is_name(text):
        found = search(name=text, limit=MAX_CANDIDATES + 1)
    if not found:
        raise CandelaError(f"no {kind} has the id or the name {ref!r}; `candela {kind}s` lists the {kind}s")
    if len(found) > 1:
        raise AmbiguousReference(ref, kind, found)
    return found[0].id


def _is_name(text: str) -> bool:
    """Return whether the server accepts the text as a name. It refuses other texts as invalid."""
    return re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", text) is not None
