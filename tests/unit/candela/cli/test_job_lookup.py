"""Jobs are found by id, start of the id, name or `latest`, with few requests."""

from collections.abc import Callable
from typing import Any

import pytest

from candela import CandelaError, Client
from candela.cli.job_lookup import AmbiguousReference, find_job, find_job_id

JobAnswer = Callable[..., dict[str, Any]]
JOB, OTHER = "a1" * 16, "b2" * 16


def list_page(*jobs: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(jobs), "next_cursor": None}


@pytest.mark.parametrize("ref", [JOB, JOB.upper(), f" {JOB} "])
def test_a_complete_id_costs_one_request(server: Any, client: Client, job_answer: JobAnswer, ref: str) -> None:
    server.json(f"GET /v1/jobs/{JOB}", job_answer())
    assert find_job(client, ref).id == JOB
    assert find_job_id(client, ref) == JOB
    assert len(server.seen) == 1


@pytest.mark.parametrize("ref", ["a", "a1A1", JOB[:31]])
def test_the_start_of_an_id_is_searched(server: Any, client: Client, job_answer: JobAnswer, ref: str) -> None:
    server.json("GET /v1/jobs", list_page(job_answer()))
    server.json(f"GET /v1/jobs/{JOB}", job_answer())
    assert find_job(client, ref).id == JOB
    assert server.seen[0].query == {"id": ref.lower(), "limit": "6"}
    assert len(server.seen) == 2


def test_a_name_is_searched_after_an_id(server: Any, client: Client, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs", list_page())
    server.json("GET /v1/jobs", list_page(job_answer(name="cafe")))
    assert find_job_id(client, "cafe") == JOB
    assert [seen.query for seen in server.seen] == [{"id": "cafe", "limit": "6"}, {"name": "cafe", "limit": "6"}]


def test_a_name_that_is_no_id_costs_one_request(server: Any, client: Client, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs", list_page(job_answer(name="digits-0001")))
    assert find_job_id(client, "digits-0001") == JOB
    assert [seen.query for seen in server.seen] == [{"name": "digits-0001", "limit": "6"}]


def test_latest_is_the_newest_job(server: Any, client: Client, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs", list_page(job_answer(), job_answer(id=OTHER)))
    assert find_job_id(client, "latest") == JOB
    assert server.seen[0].query == {"limit": "1"}
    server.answers.clear()
    server.json("GET /v1/jobs", list_page())
    with pytest.raises(CandelaError, match="there are no jobs yet"):
        find_job_id(client, "latest")


@pytest.mark.parametrize("num_jobs", [2, 5, 6])
def test_candidates_of_an_ambiguous_reference_are_listed(
    server: Any, client: Client, job_answer: JobAnswer, num_jobs: int
) -> None:
    ids = [f"a1{number:030x}" for number in range(num_jobs)]
    server.json("GET /v1/jobs", list_page(*(job_answer(id=job_id, state="failed") for job_id in ids)))
    with pytest.raises(AmbiguousReference) as caught:
        find_job(client, "a1")
    lines = str(caught.value).splitlines()
    assert lines[0] == "several jobs match 'a1'; use more digits of the id:"
    assert lines[1:6] == [f"  {job_id}  digits  failed" for job_id in ids[:5]]
    assert lines[6:] == (["  …"] if num_jobs > 5 else [])
    assert [job["id"] for job in caught.value.candidates] == ids[:5]


@pytest.mark.parametrize("ref", ["zz", "f", "", "no such job", "../system", "é", "0" * 33, "-"])
def test_an_unknown_reference_is_named_in_the_error(server: Any, client: Client, ref: str) -> None:
    server.json("GET /v1/jobs", list_page())
    with pytest.raises(CandelaError, match="no job has the id or the name"):
        find_job(client, ref)
    assert all(seen.path == "/v1/jobs" for seen in server.seen)
