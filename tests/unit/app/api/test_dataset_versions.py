"""Edits, comparisons and exports of dataset versions over HTTP."""

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.state import State
from core.db.repos.datasets import DatasetRepo
from core.db.repos.outbox import OutboxRepo
from core.db.session import transaction
from tests.support.images import class_images, encode_image, random_png, write_zip
from worker.importing.importer import Importer

CSV = "size,home,kind\n" + "".join(
    f"{n}.25,{'town' if n % 3 else 'farm'},{'cat' if n % 2 else 'dog'}\n" for n in range(20)
)


@pytest.fixture
def run_imports(state: State) -> Callable[[], None]:
    """Run the imports in the queue."""

    def run() -> None:
        importer = Importer(state.settings, state.sessions, state.storage, owner="test")
        with transaction(state.sessions) as session:
            waiting = [row.subject_id for row in OutboxRepo(session).list_oldest() if row.topic == "import"]
        for version_id in waiting:
            importer.run(version_id)

    return run


@pytest.fixture
def upload(client: TestClient, run_imports: Callable[[], None], tmp_path: Any) -> Callable[..., dict[str, Any]]:
    """Upload images or a table, import them, and return the version."""

    def post(body: dict[str, bytes] | bytes | str, name: str = "pets", **params: Any) -> dict[str, Any]:
        content = write_zip(tmp_path / "x.zip", body).read_bytes() if isinstance(body, dict) else body
        kind = "text/csv" if isinstance(content, str) else "application/zip"
        headers = {"Content-Type": kind}
        response = client.post(f"/v1/datasets/{name}/versions", content=content, params=params, headers=headers)
        assert response.status_code == 202, response.text
        run_imports()
        version: dict[str, Any] = client.get(response.headers["location"]).json()
        assert version["state"] == "ready", version["failure"]
        return version

    return post


def build_files() -> dict[str, bytes]:
    """Return 12 images in two splits, with a blank image, a conflict, and a copy in the test split."""
    files = class_images(3, 3, prefix="train/") | class_images(3, 1, prefix="test/", first=500)
    files["train/class_0/blank.png"] = encode_image(np.full((12, 10, 3), 7, np.uint8))
    files["train/class_1/conflict.png"] = files["train/class_2/00.png"]
    files["test/class_0/copy.png"] = files["train/class_0/01.png"]
    return files


def edit(client: TestClient, operations: list[dict[str, Any]], dataset: str = "pets", **body: Any) -> Any:
    return client.post(f"/v1/datasets/{dataset}/versions/1/edits", json={"operations": operations, **body})


def test_an_edit_equals_an_upload_of_the_remaining_files(
    client: TestClient, upload: Callable[..., dict[str, Any]], run_imports: Callable[[], None]
) -> None:
    files = build_files()
    upload(files)
    operations: list[dict[str, Any]] = [
        {"kind": "drop_blank"},
        {"kind": "drop_conflicts"},
        {"kind": "drop_duplicates", "scope": "across_splits"},
        {"kind": "relabel", "samples": ["train/class_1/00.png"], "label": "class_2"},
    ]
    response = edit(client, operations)
    assert response.status_code == 202, response.text
    assert response.headers["location"] == "/v1/datasets/pets/versions/2"
    assert (response.json()["source"], response.json()["state"]) == ("edit", "importing")
    run_imports()
    edited = client.get("/v1/datasets/pets/versions/2").json()
    assert edited["edit"]["base_version"] == 1
    assert [operation["kind"] for operation in edited["edit"]["operations"]] == [o["kind"] for o in operations]
    assert edited["splits"] == {"train": 7, "test": 4}
    for name in ("class_0/blank.png", "class_1/conflict.png", "class_2/00.png", "class_0/01.png"):
        del files[f"train/{name}"]
    files["train/class_2/00.png"] = files.pop("train/class_1/00.png")
    uploaded = upload(files, "same")
    assert edited["content_hash"] == uploaded["content_hash"]
    report = client.get("/v1/datasets/pets/versions/2/report").json()
    assert [result["num_samples"] for result in report["edits"]] == [1, 2, 1, 1]
    assert report["duplicates"]["num_groups"] == 0
    assert client.get("/v1/datasets/pets/versions/2/preview").status_code == 200


INVALID: list[tuple[dict[str, Any], str, str]] = [
    ({"kind": "relabel", "samples": ["a"], "label": "class_9"}, "/operations/1/label", "unknown class"),
    ({"kind": "keep_classes", "classes": ["class_0", "clas_1"]}, "/operations/1/classes/1", "mean 'class_1'"),
    ({"kind": "rename_classes", "classes": {"x": "y"}}, "/operations/1/classes/x", "unknown class"),
    ({"kind": "rename_classes", "classes": {"class_0": "a/b"}}, "/operations/1/classes/class_0", "slash"),
    ({"kind": "keep_classes", "classes": ["class_0"]}, "/operations/1", "only the class 'class_0'"),
    ({"kind": "cap_per_class", "max_samples": 3, "split": "valid"}, "/operations/1/split", "unknown split"),
    ({"kind": "cap_per_class", "max_samples": 0}, "/operations/1/max_samples", "greater than or equal to 1"),
    ({"kind": "drop"}, "/operations/1/kind", "unknown kind"),
    ({"kind": "drop_blank", "x": 1}, "/operations/1/x", "unknown field"),
    ({}, "/operations/1/kind", "must have a field 'kind'"),
    ({"kind": "drop_samples", "samples": []}, "/operations/1/samples", "at least 1 item"),
]


def test_an_invalid_operation_is_rejected_with_its_pointer(
    client: TestClient, upload: Callable[..., dict[str, Any]]
) -> None:
    upload(build_files())
    for operation, pointer, reason in INVALID:
        response = edit(client, [{"kind": "drop_blank"}, operation])
        assert response.status_code == 422, operation
        [error] = response.json()["errors"]
        assert error["pointer"] == pointer
        assert reason in error["detail"]
    assert len(client.get("/v1/datasets/pets").json()["versions"]) == 1


@pytest.mark.parametrize(
    ("operations", "code", "message"),
    [
        (
            [{"kind": "drop_blank"}, {"kind": "drop_samples", "samples": ["train/class_0/10.png"]}],
            "edit_unknown_sample",
            "/operations/1/samples/0: unknown sample",
        ),
        (
            [
                {"kind": "move_samples", "samples": [f"train/class_0/0{n}.png" for n in range(3)], "split": "test"},
                {"kind": "drop_blank"},
            ],
            "dataset_unknown_class",
            "class_0",
        ),
        (
            [{"kind": "drop_samples", "samples": [f"train/class_{k}/0{n}.png" for k in range(3) for n in range(3)]}],
            "edit_empties_train",
            "/operations/0: leaves no training sample",
        ),
    ],
)
def test_an_edit_that_cannot_be_applied_fails_with_a_hint(
    operations: list[dict[str, Any]],
    code: str,
    message: str,
    client: TestClient,
    upload: Callable[..., dict[str, Any]],
    run_imports: Callable[[], None],
) -> None:
    files = build_files()
    if code == "edit_empties_train":
        files = class_images(3, 3, prefix="train/") | class_images(3, 1, prefix="test/", first=500)
    upload(files)
    assert edit(client, operations).status_code == 202
    run_imports()
    version = client.get("/v1/datasets/pets/versions/2").json()
    assert (version["state"], version["failure"]["code"]) == ("failed", code)
    assert message in version["failure"]["message"]
    assert "hange" in version["failure"]["hint"]


def test_a_version_cannot_be_deleted_while_it_is_edited(
    client: TestClient, upload: Callable[..., dict[str, Any]], run_imports: Callable[[], None]
) -> None:
    upload(build_files())
    edit(client, [{"kind": "drop_blank"}])
    response = client.delete("/v1/datasets/pets/versions/1")
    assert response.status_code == 409
    assert response.json()["facts"]["dependents"] == ["pets/2"]
    run_imports()
    assert client.delete("/v1/datasets/pets/versions/1").status_code == 204
    assert client.get("/v1/datasets/pets/versions/2/report").json()["splits"]["train"]["num_samples"] == 10
    with zipfile.ZipFile(io.BytesIO(client.get("/v1/datasets/pets/versions/2/export").content)) as archive:
        assert archive.testzip() is None


def test_an_edit_of_a_lost_version_fails(
    client: TestClient, upload: Callable[..., dict[str, Any]], run_imports: Callable[[], None], state: State
) -> None:
    upload(build_files())
    edit(client, [{"kind": "drop_blank"}])
    with transaction(state.sessions) as session:
        DatasetRepo(session).delete(DatasetRepo(session).get_version("pets", 1))
    run_imports()
    failure = client.get("/v1/datasets/pets/versions/2").json()["failure"]
    assert failure["code"] == "base_version_lost"


def test_the_versions_of_a_built_in_dataset_are_edited_under_another_name(
    client: TestClient, run_imports: Callable[[], None]
) -> None:
    client.post("/v1/jobs", json={"dataset": {"name": "digits"}, "architecture": {"name": "mlp"}})
    assert edit(client, [{"kind": "drop_blank"}], "digits", name="even").status_code == 409
    run_imports()
    operations: list[dict[str, Any]] = [
        {"kind": "keep_classes", "classes": ["0", "2", "4"]},
        {"kind": "cap_per_class", "max_samples": 10},
    ]
    response = edit(client, operations, "digits")
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/name"
    response = edit(client, operations, "digits", name="even")
    assert response.headers["location"] == "/v1/datasets/even/versions/1"
    run_imports()
    version = client.get("/v1/datasets/even/versions/1").json()
    assert (version["classes"], version["splits"]) == (["0", "2", "4"], {"train": 30})
    response = client.get("/v1/datasets/even/versions/1/diff", params={"base": 1, "base_name": "digits"})
    assert response.json()["classes_removed"] == ["1", "3", "5", "6", "7", "8", "9"]
    assert response.json()["splits"]["train"]["removed"] == 1797 - 30


def test_a_list_contains_the_first_samples_of_an_operation(
    client: TestClient, upload: Callable[..., dict[str, Any]]
) -> None:
    upload(build_files())
    names = [f"{n}.png" for n in range(150)]
    edit(client, [{"kind": "drop_samples", "samples": names}])
    [listed, _] = client.get("/v1/datasets/pets").json()["versions"]
    assert listed["edit"]["operations"][0]["samples"] == names[:100]
    single = client.get("/v1/datasets/pets/versions/2").json()
    assert single["edit"]["operations"][0]["samples"] == names


def test_versions_are_compared(
    client: TestClient, upload: Callable[..., dict[str, Any]], run_imports: Callable[[], None]
) -> None:
    files = build_files()
    upload(files)
    changed = dict(files) | {"train/class_0/00.png": random_png(99), "train/class_1/new.png": random_png(98)}
    changed["test/class_2/01.png"] = changed.pop("train/class_2/01.png")
    changed["train/class_2/99.png"] = changed.pop("train/class_1/00.png")
    del changed["train/class_0/blank.png"]
    upload(changed)
    found = client.get("/v1/datasets/pets/versions/2/diff?base=1").json()
    kinds = ("added", "removed", "relabelled", "moved", "changed")
    assert {kind: found["splits"]["train"][kind] for kind in kinds} == {
        "added": 1,
        "removed": 1,
        "relabelled": 1,
        "moved": 0,
        "changed": 1,
    }
    assert found["splits"]["test"]["moved"] == 1
    assert found["splits"]["train"]["classes"]["class_1"]["added"] == 1
    [relabelled] = found["samples"]["relabelled"]
    assert (relabelled["name"], relabelled["label"]) == ("train/class_2/99.png", "class_2")
    assert (relabelled["base_name"], relabelled["base_label"]) == ("train/class_1/00.png", "class_1")
    assert found["samples"]["removed"][0]["base_name"] == "train/class_0/blank.png"
    assert found["samples"]["removed"][0]["name"] is None
    assert not found["is_identical"]
    assert found["num_unchanged"] == 11
    same = client.get("/v1/datasets/pets/versions/2/diff?base=2").json()
    assert (same["is_identical"], same["num_unchanged"], same["splits"]) == (True, 15, {})
    names = client.get("/v1/datasets/pets/versions/2/diff?base=1&by=names").json()
    assert (names["by"], names["splits"]["train"]["changed"]) == ("names", 0)


def test_a_comparison_is_limited(
    client: TestClient, upload: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(class_images(2, 3))
    upload(class_images(2, 4))
    monkeypatch.setattr("app.services.dataset_files.MAX_COMPARED_BYTES", 1000)
    response = client.get("/v1/datasets/pets/versions/2/diff?base=1")
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "?by"
    assert client.get("/v1/datasets/pets/versions/2/diff?base=1&by=names").status_code == 200
    monkeypatch.setattr("app.services.dataset_files.MAX_COMPARED_SAMPLES", 13)
    response = client.get("/v1/datasets/pets/versions/2/diff?base=1&by=names")
    assert response.json()["errors"][0]["pointer"] == "?base"


def test_an_export_of_images_is_imported_again_with_the_same_hash(
    client: TestClient, upload: Callable[..., dict[str, Any]]
) -> None:
    files = build_files() | {"weights.csv": b"name,weight\ntrain/class_0/00.png,0.1\n"}
    first = upload(files, image_size="9x7")
    response = client.get("/v1/datasets/pets/versions/1/export")
    assert response.headers["content-disposition"] == 'attachment; filename="pets-1.zip"'
    second = upload(response.content, "again")
    assert second["content_hash"] == first["content_hash"]
    again = client.get("/v1/datasets/again/versions/1/export").content
    with zipfile.ZipFile(io.BytesIO(response.content)) as one, zipfile.ZipFile(io.BytesIO(again)) as other:
        assert one.namelist() == other.namelist()
        assert "train/class_0/00.png" in one.namelist()
        assert all(one.read(name) == other.read(name) for name in one.namelist() if name != "dataset.json")
    assert client.get("/v1/datasets/pets/versions/1/export").content == response.content


def test_an_export_of_a_table_is_imported_again_with_the_same_hash(
    client: TestClient, upload: Callable[..., dict[str, Any]]
) -> None:
    text = CSV.replace("town", "=town").replace("cat", "-cat").replace("dog", "@dog").replace("3.25", "")
    first = upload(text, target="kind", missing="impute")
    with zipfile.ZipFile(io.BytesIO(client.get("/v1/datasets/pets/versions/1/export").content)) as archive:
        assert archive.namelist() == ["dataset.json", "train.csv"]
        exported, described = archive.read("train.csv").decode(), json.loads(archive.read("dataset.json"))
    assert exported.splitlines()[1] == "0.25,farm,'@dog"
    second = upload(exported, "again", **described["import_options"])
    assert second["classes"] == ["-cat", "@dog"]
    assert second["content_hash"] == first["content_hash"]


def test_too_many_exports_are_rejected(
    client: TestClient, upload: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(class_images(2, 3))
    monkeypatch.setattr("app.api.export_response.MAX_EXPORTS", 0)
    response = client.get("/v1/datasets/pets/versions/1/export")
    assert (response.status_code, response.json()["type"]) == (503, "/problems/overloaded")
    assert response.headers["retry-after"]


def test_a_version_that_is_not_ready_is_neither_compared_nor_exported(client: TestClient, tmp_path: Any) -> None:
    body = write_zip(tmp_path / "x.zip", class_images(2, 3)).read_bytes()
    client.post("/v1/datasets/pets/versions", content=body)
    for path in ("diff?base=1", "export"):
        assert client.get(f"/v1/datasets/pets/versions/1/{path}").status_code == 409
        assert client.get(f"/v1/datasets/pets/versions/9/{path}").status_code == 404
