"""Homes, snapshots, bundles and variants of version 0.1 still load and work."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from core.datasets.packed import PackedDataset
from core.spec import ANY_JOB, JobSpec
from models import variants
from models.bundle import load_bundle
from tests.compatibility import homes
from tests.support.training import RecordingChannel, cpu_placement
from worker.builders import build_run
from worker.engine.snapshot import restore_snapshot
from worker.engine.snapshot_checksums import BadSnapshot
from worker.protocol import Start, TrainingFinished
from worker.trainer.main import run_job

EXPECTED = homes.read_expected_values()
JOBS = (*homes.RESUMABLE, "successor")
COMPLETE_SPECS = ("image", "table")
"""Jobs whose spec leaves no value to be found before the training."""
WEIGHT_TOLERANCES = dict.fromkeys(JOBS, 1e-4) | {"image": 0.1}
"""Absolute, between final weights of the same training on two processors.

A float32 sum differs by about 1e-7 of its value where another instruction set adds in another order. Weights that
differ by 1e-6 of their value when a job resumes differ by less than 2e-6 at its end; a job that loses the state of its
optimizer ends 8e-3 away. The job `image` has biases in front of batch norms: their gradients are rounding errors, which
Adam scales up, so that the same difference becomes 3e-2. Its loss and its predictions differ by less than 1 %.
"""
R2_TOLERANCE = 1e-5
LOSS_TOLERANCE = 1e-2
PROBABILITY_TOLERANCE = 1e-4
RESUMED_PROBABILITY_TOLERANCE = 2e-2
INT8_TOLERANCE = 0.05
"""Absolute, of probabilities: int8 kernels of processors without VNNI add pairs of products in 16 bits and saturate."""
RENAMED_FIELDS: dict[str, str] = {}
"""Fields of HTTP responses that have another name since version 0.1: old name to new name. CHANGELOG lists them."""
NEW_ARTIFACTS = frozenset(
    {f"{name}.json" for name in ("calibration", "class_metrics", "confusion_matrix", "worst_samples")}
    | {"learning_curve.png"}
)
"""Files that later versions write in addition."""
REWORDED_FIELDS = frozenset({"summary", "media_type"})
"""Texts of the code, which are not stored. Files have more exact media types now."""

Test = TypeVar("Test", bound=Callable[..., None])


def needs_service(test: Test) -> Test:
    """Mark a test that starts the whole service."""
    for mark in (pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(900)):
        test = mark(test)
    return test


@dataclass(frozen=True)
class Reference:
    """Results of version 0.1 on the recorded processor that is nearest to this one.

    Attributes:
        is_exact: this processor computes float32 sums to the same bits.
        jobs: results by the names of the jobs.
        weights: final weights by `<job>/<tensor>`.
    """

    is_exact: bool
    jobs: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]


@pytest.fixture(scope="module")
def reference() -> Reference:
    fingerprint = homes.fingerprint_arithmetic()
    records = EXPECTED["resumed"]
    record = next((one for one in records if fingerprint in one["processors"]), records[0])
    weights = load_file(homes.DATA / record["weights"])
    return Reference(fingerprint in record["processors"], record["jobs"], weights)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked home that nothing changes."""
    return homes.unpack(homes.HOME, tmp_path_factory.mktemp("files") / "home")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The service of today on another copy of the home."""
    with homes.run_service(homes.unpack(homes.HOME, tmp_path_factory.mktemp("service") / "home")) as client:
        yield client


@dataclass(frozen=True)
class JobHistory:
    """The paused jobs as the API describes them, predictions by a checkpoint of one, and the jobs once finished."""

    before: Mapping[str, Any]
    checkpoint_predictions: Any
    after: Mapping[str, dict[str, Any]]


@pytest.fixture(scope="module")
def history(service: httpx.Client) -> JobHistory:
    """All paused jobs, resumed and finished."""
    ids = EXPECTED["ids"]
    before = {name: homes.read_job(service, ids[name]) for name in homes.RESUMABLE}
    predictions = homes.post_json(service, f"/v1/jobs/{ids['image']}/predict", homes.build_request())
    return JobHistory(before, predictions, homes.finish_all_jobs(service, ids))


def assert_contains(new: Any, old: Any, path: str = "") -> None:
    """Compare JSON values. `new` may have more fields than `old`, and fields of another name."""
    if isinstance(old, dict):
        assert isinstance(new, dict), path
        for name, value in old.items():
            if name in REWORDED_FIELDS:
                continue
            field = RENAMED_FIELDS.get(name, name)
            assert field in new, f"{path}/{field} is missing"
            assert_contains(new[field], value, f"{path}/{field}")
    elif isinstance(old, list):
        assert isinstance(new, list), path
        assert len(new) == len(old), path
        for index, (new_item, old_item) in enumerate(zip(new, old, strict=True)):
            assert_contains(new_item, old_item, f"{path}/{index}")
    else:
        assert new == old, f"{path}: {new!r}, not {old!r}"


def compare_results(result: Mapping[str, Any], name: str, reference: Reference) -> None:
    """Compare curves, metrics and the end of a training."""
    expected = reference.jobs[name]
    assert result["progress"] == expected["progress"]
    assert sorted({*result["artifacts"]} - NEW_ARTIFACTS) == sorted(expected["artifacts"])
    assert result["metrics"].keys() == expected["metrics"].keys()
    lengths = {key: len(values) for key, values in expected["curves"].items()}
    assert {key: len(values) for key, values in result["curves"].items()} == lengths
    if reference.is_exact:
        assert result["stop_reason"] == expected["stop_reason"]
        compare_metrics(result["metrics"], expected["metrics"])
        compare_metrics(result["curves"], expected["curves"])
    losses = {key: value for key, value in expected["metrics"].items() if key.endswith("_loss")}
    assert {key: result["metrics"][key] for key in losses} == pytest.approx(losses, rel=LOSS_TOLERANCE)


def compare_metrics(new: Mapping[str, Any], old: Mapping[str, Any]) -> None:
    """Compare metrics exactly, except R²: it was computed in single precision, and is computed in double precision."""
    old_r2, new_r2 = ({key: each[key] for key in each if key.endswith("_r2")} for each in (old, new))
    assert new_r2 == {key: pytest.approx(values, rel=R2_TOLERANCE) for key, values in old_r2.items()}
    assert {**new, **old_r2} == old


def compare_weights(weights: Mapping[str, torch.Tensor], sha256: str, name: str, reference: Reference) -> None:
    """Compare final weights: to the bit where this processor computes as the recorded one does."""
    if reference.is_exact:
        assert sha256 == reference.jobs[name]["sha256"]
    expected = {key.partition("/")[2]: value for key, value in reference.weights.items() if key.startswith(f"{name}/")}
    assert weights.keys() == expected.keys()
    for key, value in expected.items():
        if value.is_floating_point():  # the others count the batches up to the best epoch
            torch.testing.assert_close(weights[key], value, rtol=0.0, atol=WEIGHT_TOLERANCES[name])


def compare_predictions(new: Any, old: Any, tolerance: float = PROBABILITY_TOLERANCE) -> None:
    """Compare predictions, class by class or value by value."""
    assert len(new["predictions"]) == len(old["predictions"]) == 4
    for one, other in zip(new["predictions"], old["predictions"], strict=True):
        if "values" in other:
            assert one["values"] == pytest.approx(other["values"], rel=LOSS_TOLERANCE)
            continue
        found, expected = (
            {candidate["label"]: candidate["probability"] for candidate in prediction["top_k"]}
            for prediction in (one, other)
        )
        assert found == pytest.approx(expected, abs=tolerance)


# ---- files


def read_spec(name: str) -> JobSpec:
    """Return the resolved spec of a job, as the database holds it."""
    spec = ANY_JOB.validate_python(EXPECTED["snapshots"][name]["spec"])
    assert isinstance(spec, JobSpec)
    return spec


@pytest.mark.parametrize("name", COMPLETE_SPECS)
def test_snapshot_restores_every_part(home: Path, name: str) -> None:
    files = EXPECTED["snapshots"][name]
    folder = home / files["snapshot"]
    run = build_run(read_spec(name), PackedDataset.open(home / files["dataset"]), cpu_placement())
    restore_snapshot(folder, run.network, run.stateful_parts(), torch.device("cpu"))
    newest = EXPECTED["responses"]["paused"][name]["checkpoints"]["items"][-1]
    assert (run.state.epoch, run.state.step) == (newest["epoch"], newest["step"])
    weights, state = load_file(folder / "weights.safetensors"), load_file(folder / "state.safetensors")
    torch.testing.assert_close(dict(run.network.state_dict()), weights, rtol=0, atol=0)
    assert run.averaging is not None
    averages = {f"averaging.network.{key}": value for key, value in run.averaging.network.state_dict().items()}
    torch.testing.assert_close(averages, {key: state[key] for key in averages}, rtol=0, atol=0)
    tensors = {
        id(tensor): tensor for part in run.stateful_parts().values() for tensor in list_tensors(part.state_dict())
    }
    num_new_states = 1 if name == "table" else 0  # R2Score has the state `origin`, which torchmetrics' class lacks
    assert len(tensors) == len(state) + num_new_states


def list_tensors(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of nested dictionaries, lists and tuples."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from itertools.chain.from_iterable(map(list_tensors, value.values()))
    elif isinstance(value, list | tuple):
        yield from itertools.chain.from_iterable(map(list_tensors, value))


@pytest.mark.parametrize("name", JOBS)
def test_trainer_continues_to_the_same_weights(home: Path, tmp_path: Path, reference: Reference, name: str) -> None:
    files, channel = EXPECTED["snapshots"][name], RecordingChannel()
    start = Start(
        job_id="0" * 32,
        attempt=2,
        spec=read_spec(name),
        dataset_dir=str(home / files["dataset"]),
        dataset={},
        work_dir=str(tmp_path),
        resume_dir=files["snapshot"] and str(home / files["snapshot"]),
        initial_checkpoint_dir=files["source"] and str(home / files["source"]),
        lease_s=60.0,
    )
    assert run_job(start, channel) == 0, channel.messages[-1]
    (finished,) = channel.select_messages(TrainingFinished)
    weights = Path(finished.dir) / "weights.safetensors"
    compare_weights(load_file(weights), finished.files[weights.name].sha256, name, reference)
    curves: dict[str, list[Any]] = {}
    for (split, curve, _), value in sorted(channel.collect_points().items()):
        curves.setdefault(f"{split}_{curve}", []).append(value)
    # The curves of the first attempt are in the database; this attempt adds the rest.
    expected = {key: reference.jobs[name]["curves"][key][-len(values) :] for key, values in curves.items()}
    if reference.is_exact:
        compare_metrics(curves, expected)
        assert finished.stop_reason == reference.jobs[name]["stop_reason"]
    assert curves["valid_loss"] == pytest.approx(expected["valid_loss"], rel=LOSS_TOLERANCE)


@pytest.mark.parametrize("damage", ["missing", "unknown"])
def test_restore_rejects_other_parts(home: Path, tmp_path: Path, damage: str) -> None:
    files = EXPECTED["snapshots"]["image"]
    for path in (home / files["snapshot"]).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    document = json.loads((tmp_path / "snapshot.json").read_text())
    state = document["parts"].pop("optimizer")
    if damage == "unknown":
        document["parts"] |= {"optimizer": state, "of_another_program": {}}
    (tmp_path / "snapshot.json").write_text(json.dumps(document))
    run = build_run(read_spec("image"), PackedDataset.open(home / files["dataset"]), cpu_placement())
    with pytest.raises(BadSnapshot):
        restore_snapshot(tmp_path, run.network, run.stateful_parts(), torch.device("cpu"))


def test_bundle_predicts_as_before(tmp_path: Path) -> None:
    network, description = load_bundle(homes.unpack(homes.BUNDLE, tmp_path / "bundle"))
    pixels = torch.tensor(homes.PIXELS, dtype=torch.uint8)
    with torch.inference_mode():
        scores = network(description.build_preprocessing()(pixels))
    compare_scores(scores, description.classes, "finished")


@pytest.mark.parametrize(("format", "tolerance"), [("onnx", PROBABILITY_TOLERANCE), ("int8", INT8_TOLERANCE)])
def test_variant_predicts_as_before(home: Path, format: str, tolerance: float) -> None:
    folders = {json.loads(path.read_text())["format"]: path.parent for path in home.glob("store/**/variant.json")}
    run = variants.open_runner(folders[format], threads=1)
    classes = json.loads((folders[format] / "bundle.json").read_text())["classes"]
    compare_scores(torch.from_numpy(run(np.array(homes.PIXELS, np.uint8))), classes, format, tolerance)


def compare_scores(
    scores: torch.Tensor, classes: list[str], name: str, tolerance: float = PROBABILITY_TOLERANCE
) -> None:
    """Compare raw scores with recorded probabilities."""
    predictions = [
        {"top_k": [{"label": label, "probability": p} for label, p in zip(classes, row, strict=True)]}
        for row in torch.softmax(scores, dim=1).tolist()
    ]
    compare_predictions({"predictions": predictions}, EXPECTED["responses"]["predictions"][name], tolerance)


# ---- the service


@needs_service
@pytest.mark.parametrize("name", sorted(EXPECTED["responses"]["finished"]))
def test_finished_job_reads_as_before(service: httpx.Client, name: str) -> None:
    job = homes.read_job(service, EXPECTED["ids"][name])
    assert_contains(job, EXPECTED["responses"]["finished"][name])


@needs_service
def test_events_read_as_before(service: httpx.Client) -> None:
    assert_contains(homes.read_events(service, EXPECTED["ids"]["finished"]), EXPECTED["responses"]["events"])


@needs_service
def test_files_download_as_before(service: httpx.Client) -> None:
    for name, job in EXPECTED["responses"]["finished"].items():
        for file in job["artifacts"]["items"]:
            check_download(service, f"/v1/jobs/{EXPECTED['ids'][name]}/artifacts/{file['name']}", file["sha256"])
    for name, files in EXPECTED["responses"]["files"].items():
        digests = EXPECTED["responses"]["finished"][name]["job"]["result"]["files"]
        assert files
        for file in files:
            check_download(service, f"/v1/jobs/{EXPECTED['ids'][name]}/files/{file}", digests[file]["sha256"])


def check_download(client: httpx.Client, path: str, sha256: str) -> None:
    """Compare the ETag of a download, which is the hash of the file."""
    response = client.get(path)
    assert (response.status_code, response.headers["etag"]) == (200, f'"{sha256}"')
    assert response.content


@needs_service
@pytest.mark.parametrize("path", sorted(EXPECTED["responses"]["gets"]))
def test_models_and_datasets_read_as_before(service: httpx.Client, path: str) -> None:
    found, expected = homes.get_json(service, path), EXPECTED["responses"]["gets"][path]
    if path == "/v1/models":  # resumed jobs add models
        found = {**found, "items": [item for item in found["items"] if item["name"] == "finished"]}
    assert_contains(found, expected)


@needs_service
@pytest.mark.parametrize(
    ("name", "ref", "variant", "tolerance"),
    [
        ("finished", "finished@1", "none", PROBABILITY_TOLERANCE),
        ("onnx", "finished@fast", None, PROBABILITY_TOLERANCE),
        ("int8", "finished@1", "int8", INT8_TOLERANCE),
    ],
)
def test_model_and_variants_predict_over_http_as_before(
    service: httpx.Client, name: str, ref: str, variant: str | None, tolerance: float
) -> None:
    found, expected = homes.predict_inputs(service, ref, variant), EXPECTED["responses"]["predictions"][name]
    assert_contains(found["model"], expected["model"])
    compare_predictions(found, expected, tolerance)


@needs_service
@pytest.mark.parametrize("name", homes.RESUMABLE)
def test_paused_job_reads_as_before(history: JobHistory, name: str) -> None:
    assert_contains(history.before[name], EXPECTED["responses"]["paused"][name])


@needs_service
def test_checkpoint_predicts_as_before(history: JobHistory) -> None:
    expected = EXPECTED["responses"]["predictions"]["checkpoint"]
    assert_contains(history.checkpoint_predictions["checkpoint"], expected["checkpoint"])
    compare_predictions(history.checkpoint_predictions, expected)


@needs_service
@pytest.mark.parametrize("name", JOBS)
def test_job_continues_as_with_the_old_code(
    service: httpx.Client, history: JobHistory, reference: Reference, name: str
) -> None:
    job = history.after[name]
    assert job["state"] == "succeeded", job["failure"]
    result = homes.read_result(service, job)
    compare_weights(homes.read_weights(service, job["model"]), result["sha256"], name, reference)
    compare_results(result, name, reference)
    compare_predictions(result["predictions"], reference.jobs[name]["predictions"], RESUMED_PROBABILITY_TOLERANCE)
