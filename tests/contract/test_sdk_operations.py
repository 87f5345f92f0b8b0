"""Every operation of /v1, with each of its query parameters, is reachable from both clients of the SDK."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from candela import AsyncClient, Client
from candela.aio.jobs import AsyncJob
from candela.jobs import Job
from tests.support.openapi_document import DOCUMENT

OPERATIONS = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    if path.startswith("/v1/")
    for method, operation in methods.items()
}
EXCEPTIONS = {
    "open_session": "sets the cookie of a browser; the SDK sends the API key",
    "close_session": "deletes the cookie of a browser",
}
UNUSED_PARAMETERS = {
    ("stream_many_events", "after"): "the SDK sends the header Last-Event-ID, which has the same meaning",
    ("stream_many_events", "topic"): "test_events.py tests it: it excludes `job`",
    ("stream_many_events", "sweep"): "test_sweeps.py tests it: it excludes `job`",
}
IMAGE = b"\x89PNG"
RESPONSE = {
    "id": "a1",
    "state": "succeeded",
    "items": [],
    "series": [],
    "offset": 0,
    "length": 1,
    "version": None,
    "problem": None,
}
Call = Callable[[Any, Any, Path], Any]  # (client, job, folder)

CALLS: dict[str, Call] = {
    "show_catalog": lambda client, job, folder: client.catalog(),
    "show_session": lambda client, job, folder: client.session(),
    "show_system": lambda client, job, folder: client.system(),
    "list_datasets": lambda client, job, folder: client.datasets.list(tag="a"),
    "create_dataset": lambda client, job, folder: client.datasets.create("pets", [[1]], [1]),
    "show_dataset": lambda client, job, folder: client.datasets.get("pets"),
    "upload_dataset": lambda client, job, folder: client.datasets.add(
        "pets", write_file(folder, "pets.csv"), options=dict.fromkeys(list_query("upload_dataset"), "1")
    ),
    "delete_dataset": lambda client, job, folder: client.datasets.delete("pets"),
    "update_dataset": lambda client, job, folder: client.datasets.describe("pets", tags=["a"]),
    "update_dataset_version": lambda client, job, folder: client.datasets.describe("pets", 1, tags=["a"]),
    "delete_dataset_version": lambda client, job, folder: client.datasets.delete("pets", 1),
    "show_dataset_version": lambda client, job, folder: client.datasets.get_version("pets", 1),
    "compare_dataset_versions": lambda client, job, folder: client.datasets.diff("pets", 1, 2, base_name="cats"),
    "edit_dataset_version": lambda client, job, folder: client.datasets.edit("pets", 1, []),
    "export_dataset_version": lambda client, job, folder: client.datasets.export("pets", 1, folder),
    "preview_dataset": lambda client, job, folder: client.datasets.preview("pets", 1),
    "report_dataset": lambda client, job, folder: client.datasets.report("pets", 1),
    "list_samples": lambda client, job, folder: client.datasets.samples("pets", 1, label="cat", split="train"),
    "show_sample_image": lambda client, job, folder: client.datasets.sample_image("pets", 1, "train", 0, size=64),
    "stream_many_events": lambda client, job, folder: client.events(["a1"]),
    "list_jobs": lambda client, job, folder: client.jobs.list(
        id="a1",
        state="queued",
        name="a",
        kind="train",
        q="a",
        tags=["b"],
        dataset="pets",
        model="m",
        sweep="5a",
        sort="name",
        fields=["name"],
    ),
    "submit_job": lambda client, job, folder: client.jobs.dry_run({}),
    "compare_jobs": lambda client, job, folder: client.jobs.compare(["a1", "b2"]),
    "delete_job": lambda client, job, folder: job.delete(),
    "show_job": lambda client, job, folder: client.jobs.get("a1"),
    "change_job": lambda client, job, folder: job.set_tags(["b"]),
    "list_artifacts": lambda client, job, folder: job.artifacts(),
    "download_artifact": lambda client, job, folder: job.download_artifact("a.json", folder),
    "cancel_job": lambda client, job, folder: job.cancel(force=True),
    "list_checkpoints": lambda client, job, folder: job.checkpoints(),
    "download_weights": lambda client, job, folder: job.download_weights(1, folder),
    "clone_job": lambda client, job, folder: job.clone({"epochs": 2}),
    "stream_events": lambda client, job, folder: job.watch(),
    "extend_job": lambda client, job, folder: job.extend(2),
    "download_file": lambda client, job, folder: job.download_file("predictions.csv", folder),
    "finish_job": lambda client, job, folder: job.finish(),
    "show_logs": lambda client, job, folder: job.logs(after=1, limit=2, last=3),
    "show_metrics": lambda client, job, folder: job.metrics(name="loss", split="train", since_step=1, max_points=4),
    "pause_job": lambda client, job, folder: job.pause(),
    "predict_with_checkpoint": lambda client, job, folder: job.predict(
        IMAGE, checkpoint="best", top_k=1, test_time_augmentation="mirror"
    ),
    "resume_job": lambda client, job, folder: job.resume(),
    "register_job": lambda client, job, folder: job.register(),
    "show_usage": lambda client, job, folder: job.usage(),
    "show_job_lineage": lambda client, job, folder: job.lineage(),
    "show_model_card": lambda client, job, folder: client.models.card("cats", 1),
    "show_model_lineage": lambda client, job, folder: client.models.lineage("cats", 1),
    "reproduce_job": lambda client, job, folder: job.dry_run_reproduction(),
    "reproduce_version": lambda client, job, folder: client.models.dry_run_reproduction("cats", 1),
    "show_metric_grid": lambda client, job, folder: client.jobs.curves(
        ["a1"], "loss", "valid", curves=["valid/loss"], start=0, end=9
    ),
    "submit_sweep": lambda client, job, folder: client.sweeps.dry_run({}),
    "list_sweeps": lambda client, job, folder: client.sweeps.list(id="a1", state="running", name="a", q="a"),
    "show_sweep": lambda client, job, folder: client.sweeps.get("a1"),
    "delete_sweep": lambda client, job, folder: client.sweeps.delete("a1", jobs=True),
    "list_trials": lambda client, job, folder: client.sweeps.trials("a1", sort="score", state="failed"),
    "add_trial": lambda client, job, folder: client.sweeps.add_trial("a1", {"/optimizer/lr": 0.1}),
    "show_importance": lambda client, job, folder: client.sweeps.importance("a1"),
    "pause_sweep": lambda client, job, folder: client.sweeps.pause("a1"),
    "resume_sweep": lambda client, job, folder: client.sweeps.resume("a1"),
    "cancel_sweep": lambda client, job, folder: client.sweeps.cancel("a1"),
    "finish_sweep": lambda client, job, folder: client.sweeps.finish("a1"),
    "extend_sweep": lambda client, job, folder: client.sweeps.extend("a1", {"trials": 9}),
    "list_models": lambda client, job, folder: client.models.list(tag="a"),
    "register_model": lambda client, job, folder: client.models.register("m", "convnet"),
    "show_model": lambda client, job, folder: client.models.get("m"),
    "list_model_versions": lambda client, job, folder: client.models.versions("m"),
    "update_model": lambda client, job, folder: client.models.describe("m", tags=["a"]),
    "update_model_version": lambda client, job, folder: client.models.describe("m", 1, tags=["a"]),
    "delete_model": lambda client, job, folder: client.models.delete("m"),
    "delete_model_version": lambda client, job, folder: client.models.delete("m", 1),
    "delete_alias": lambda client, job, folder: client.models.delete_alias("m", "champion"),
    "set_alias": lambda client, job, folder: client.models.set_alias("m", "champion", 1),
    "show_model_version": lambda client, job, folder: client.models.get_version("m", 1),
    "download_bundle": lambda client, job, folder: client.models.download_bundle("m", 1, folder),
    "export_model": lambda client, job, folder: client.models.export("m", 1, "onnx", folder),
    "list_variants": lambda client, job, folder: client.models.variants("m", 1),
    "make_variant": lambda client, job, folder: client.models.create_variant("m", 1, "onnx"),
    "delete_variant": lambda client, job, folder: client.models.delete_variant("m", 1, "onnx"),
    "show_variant": lambda client, job, folder: client.models.get_variant("m", 1, "onnx"),
    "download_variant_file": lambda client, job, folder: client.models.download_variant_file(
        "m", 1, "onnx", "model.onnx", folder
    ),
    "embed": lambda client, job, folder: client.models.embed("m", IMAGE),
    "explain": lambda client, job, folder: client.models.explain("m", IMAGE, label="cat"),
    "predict": lambda client, job, folder: client.models.predict(
        "m", IMAGE, top_k=1, variant="onnx", test_time_augmentation="mirror"
    ),
    "predict_archive": lambda client, job, folder: client.models.predict_archive(
        "m", write_file(folder, "a.zip"), top_k=1, batch_size=2
    ),
    "list_uploads": lambda client, job, folder: client.uploads.list(),
    "create_upload": lambda client, job, folder: client.datasets.add(
        "pets", write_file(folder, "pets.zip"), resumable=True
    ),
    "append_upload": lambda client, job, folder: client.datasets.add(
        "pets", write_file(folder, "pets.zip"), resumable=True
    ),
    "delete_upload": lambda client, job, folder: client.uploads.delete("u1"),
    "show_upload": lambda client, job, folder: client.uploads.get("u1"),
}


def write_file(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(b"x")
    return path


def list_query(operation_id: str) -> set[str]:
    """Return the names of the query parameters of an operation, without those of pages."""
    _, _, operation = OPERATIONS[operation_id]
    parameters = [each for each in operation.get("parameters", ()) if each["in"] == "query"]
    return {each["name"] for each in parameters} - {"cursor", "limit"}


def respond(request: httpx.Request, seen: list[httpx.Request]) -> httpx.Response:
    seen.append(request)
    if request.url.path.endswith("/events"):
        return httpx.Response(204)
    headers = {"Location": "/v1/uploads/u1", "Upload-Offset": "1", "Upload-Result": "/v1/datasets/pets/versions/1"}
    return httpx.Response(200, json=RESPONSE, headers=headers)


def matches(request: httpx.Request, operation_id: str) -> bool:
    method, path, _ = OPERATIONS[operation_id]
    pattern = re.sub(r"\\{\w+\\}", r"[^/]+", re.escape(path))
    return request.method == method and re.fullmatch(pattern, request.url.path) is not None


def check_requests(operation_id: str, seen: list[httpx.Request]) -> None:
    found = [request for request in seen if matches(request, operation_id)]
    assert found, f"{operation_id} was not requested, but {[(each.method, each.url.path) for each in seen]}"
    sent = {name for request in found for name in request.url.params}
    expected = {name for name in list_query(operation_id) if (operation_id, name) not in UNUSED_PARAMETERS}
    assert expected <= sent, f"the SDK cannot send {sorted(expected - sent)}"


@pytest.fixture(autouse=True)
def cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_every_operation_has_a_method_or_a_reason() -> None:
    assert CALLS.keys() | EXCEPTIONS.keys() == OPERATIONS.keys()
    assert not CALLS.keys() & EXCEPTIONS.keys()
    assert all(len(reason.split()) >= 4 for reason in (*EXCEPTIONS.values(), *UNUSED_PARAMETERS.values()))


@pytest.mark.parametrize("operation_id", CALLS)
def test_a_method_of_the_client_sends_the_request(operation_id: str, tmp_path: Path) -> None:
    seen: list[httpx.Request] = []
    with Client("http://test") as client:
        transport = client._transport
        transport.http.close()
        transport.http = httpx.Client(
            transport=httpx.MockTransport(lambda request: respond(request, seen)), base_url="http://test"
        )
        result = CALLS[operation_id](client, Job(transport, RESPONSE), tmp_path)  # type: ignore[arg-type]
        if inspect.isgenerator(result):
            list(result)
    check_requests(operation_id, seen)


@pytest.mark.parametrize("operation_id", CALLS)
async def test_a_method_of_the_asynchronous_client_sends_the_request(operation_id: str, tmp_path: Path) -> None:
    seen: list[httpx.Request] = []
    async with AsyncClient("http://test") as client:
        transport = client._transport
        await transport.http.aclose()
        transport.http = httpx.AsyncClient(
            transport=httpx.MockTransport(lambda request: respond(request, seen)), base_url="http://test"
        )
        result = CALLS[operation_id](client, AsyncJob(transport, RESPONSE), tmp_path)  # type: ignore[arg-type]
        if inspect.isasyncgen(result):
            _ = [item async for item in result]
        else:
            await result
    check_requests(operation_id, seen)
