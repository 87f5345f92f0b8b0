"""Lineages over HTTP, with nodes that exist and that were deleted."""

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from app.state import State
from tests.support.finished import OPTIONS, finish_job


def test_every_node_has_all_fields(client: TestClient, state: State, post_job: Callable[..., dict[str, Any]]) -> None:
    job_id = post_job(architecture={"name": "mlp", **OPTIONS})["id"]
    finish_job(state, job_id)
    lineage = client.get("/v1/models/digits/versions/1/lineage").json()
    assert [node["id"] for node in lineage["nodes"]] == ["model:digits@1", f"job:{job_id}", "dataset:digits@1"]
    assert lineage["nodes"][1]["environment"] == {"device": "cpu", "num_parameters": 658}
    assert (lineage["nodes"][2]["source"], lineage["nodes"][2]["operations"]) == ("builtin", [])
    assert client.get(f"/v1/jobs/{job_id}/lineage").json()["nodes"] == lineage["nodes"][1:]
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert client.delete("/v1/datasets/digits").status_code == 204
    deleted = client.get("/v1/models/digits/versions/1/lineage").json()["nodes"][1:]
    assert [(node["kind"], node["is_deleted"], node["created_at"]) for node in deleted] == [
        ("job", True, None),
        ("dataset", True, None),
    ]
