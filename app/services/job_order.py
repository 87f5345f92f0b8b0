"""Parses the order of a list of jobs, such as `-metrics.valid_accuracy.best`."""

import re

from app.services.validation.report import reject
from core.db.repos.job_lists import JobField, JobOrder

PATTERN = re.compile(
    r"(?P<sign>-?)(?:(?P<field>created_at|name|state|duration)"
    r"|metrics\.(?P<metric>(?:train|valid|test)_[a-z0-9_.-]{1,80}|[a-z0-9_-]{1,80})\.(?P<kind>last|best))"
)
ACCEPTED = "created_at, name, state, duration, metrics.<name>.best or metrics.<name>.last, with - before it to reverse"


def parse_order(sort: str) -> JobOrder:
    """Return the order that a client requests. A leading `-` means descending.

    Raises:
        InvalidSpec: jobs cannot be sorted in this way.
    """
    match = PATTERN.fullmatch(sort)
    if match is None:
        reject("?sort", f"must be {ACCEPTED}; got {sort!r:.60}")
    return JobOrder(JobField(match["field"] or match["kind"]), match["sign"] == "-", match["metric"])
