"""The dashboard in a real browser: a first visit, all pages in both themes, keys and the keyboard."""

import io
import os
import re
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from sklearn.datasets import load_digits

from candela import Client
from tests.e2e.conftest import Service
from tests.support.browser import SETTLE_MS, WINDOWS, RequestCounter, Visitor
from tests.support.page_scripts import RENDER_MARKDOWN, ZIP_FOLDER
from tests.support.processes import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(600)]
TINY: dict[str, Any] = {
    "dataset": {"name": "digits", "valid": 0.2},
    "architecture": {"name": "mlp", "hidden": [16]},
    "metrics": ["accuracy"],
    "callbacks": [{"name": "confusion_matrix"}, {"name": "worst_samples"}],
    "epochs": 2,
    "model": "tiny",
    "name": "tiny",
    "threads": 1,
}
LONG_NAME = "ablation-without-batch-norm-and-with-label-smoothing-0.1-seed-{}"


@pytest.fixture(scope="module")
def jobs(client: Client) -> list[str]:
    """Two jobs that have ended, with different learning rates, one that failed, and some with long names."""
    for number in range(4):
        client.jobs.submit(TINY | {"name": LONG_NAME.format(number), "model": "long", "epochs": 1})
    ids = []
    for number, rate in enumerate((0.001, 0.01)):
        spec = TINY | {"name": f"tiny-{number}", "optimizer": {"name": "adam", "lr": rate}}
        ids.append(client.jobs.submit(spec).wait().raise_for_failure().id)
    diverged = client.jobs.submit(TINY | {"name": "diverged", "optimizer": {"name": "sgd", "lr": 1e9}}).wait()
    assert diverged.state == "failed"
    return [*ids, diverged.id]


def encode_digit(number: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.round(load_digits().images[number] * (255 / 16)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_first_visit_leads_to_a_trained_and_explained_model(visit: Callable[..., Visitor], tmp_path: Path) -> None:
    visitor = visit()
    page = visitor.open("")
    visitor.take_screenshot("first-1-empty")
    page.get_by_role("button", name="Train the digits demo").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("digits-demo")
    page.wait_for_selector(".plot canvas")
    visitor.take_screenshot("first-2-training")
    expect(page.locator("h1 .badge")).to_have_text("succeeded", timeout=240_000)
    visitor.take_screenshot("first-3-trained")
    page.get_by_role("tab", name="Evaluation").click()
    page.wait_for_selector("#tab-panel table, #tab-panel img")
    visitor.take_screenshot("first-4-evaluation")
    page.locator(".page-head").get_by_role("link", name="Try it").click()
    image = tmp_path / "seven.png"
    image.write_bytes(encode_digit(7))
    page.set_input_files("input[type=file]", image)
    expect(page.locator(".verdict")).to_have_text("7")
    page.wait_for_selector(".overlay-top")
    expect(page.get_by_role("heading", name="Why 7?")).to_be_visible()
    visitor.take_screenshot("first-5-explained")
    page.locator(".bars button").nth(1).click()
    other = page.locator(".bars button .clip").nth(1).inner_text()
    expect(page.get_by_role("heading", name=f"Why {other}?")).to_be_visible()
    page.locator(".try-samples button").first.click()
    expect(page.locator(".verdict")).to_have_text("0")
    expect(page.locator(".legend")).to_contain_text("compute")


def list_views(jobs: list[str]) -> dict[str, str]:
    first = f"#/jobs/{jobs[0]}"
    tabs = ("curves", "log", "checkpoints", "evaluation", "usage", "spec", "history", "lineage")
    return {
        "jobs": "#/jobs",
        "compare": f"#/compare?job={jobs[0]}&job={jobs[1]}",
        "compare-empty": "#/compare",
        "compare-one": f"#/compare?job={jobs[0]}",
        "job-failed": f"#/jobs/{jobs[2]}?tab=history",
        **{f"job-{tab}": f"{first}?tab={tab}" for tab in tabs},
        "new": "#/new",
        "datasets": "#/datasets",
        "dataset-without-files": "#/datasets/mnist",
        **{f"dataset-{tab}": f"#/datasets/digits?tab={tab}" for tab in ("report", "samples", "duplicates", "jobs")},
        "models": "#/models",
        **{f"model-{tab}": f"#/models/tiny?tab={tab}" for tab in ("facts", "variants", "card")},
        "model-compare": "#/models/tiny?compare=1&compare=2",
        "predict": "#/predict?model=tiny",
        "system": "#/system",
        "unknown": "#/nowhere",
    }


@pytest.mark.parametrize(("theme", "size"), WINDOWS)
def test_every_page_is_accessible_and_obeys_the_policy(
    visit: Callable[..., Visitor], jobs: list[str], theme: Any, size: tuple[int, int]
) -> None:
    visitor = visit(theme=theme, size=size)
    found = {}
    for name, view in list_views(jobs).items():
        visitor.open(view)
        visitor.take_screenshot(name, full_page=True)
        problems = visitor.find_violations()
        if (overflow := visitor.measure_overflow()) > 0:
            problems.append(f"the page is {overflow} pixels too wide")
        if problems:
            found[name] = problems
    assert found == {}


def show_tray(page: Page) -> None:
    for number in (0, 1):
        page.get_by_label(f"Select tiny-{number}").check()


def show_views(page: Page) -> None:
    page.get_by_role("button", name="Views").click()
    page.get_by_role("button", name="Save this view").click()


def show_menu(name: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role("button", name=name).first.click()


def show_field_errors(page: Page) -> None:
    type_value(page, "Epochs", "-1")
    type_value(page, "Batch size", "many")
    expect(page.locator(".field .error")).to_have_count(2)


def show_upload(page: Page) -> None:
    page.route("**/v1/datasets/*/versions*", lambda _: None)  # the upload does not end
    page.set_input_files("input[accept]", {"name": "birds.zip", "mimeType": "application/zip", "buffer": b"PK"})
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_role("progressbar", name="Upload")).to_be_visible()


def list_states(jobs: list[str]) -> dict[str, tuple[str, Callable[[Page], None]]]:
    """The address and the actions that lead to states which no address has."""
    return {
        "state-tray": ("#/jobs?q=tiny-", show_tray),
        "state-views": ("#/jobs?state=succeeded", show_views),
        "state-filter": ("#/jobs?tag=none", show_menu("Filter")),
        "state-metrics": ("#/jobs?kind=train", show_menu("Metrics")),
        "state-job-menu": (f"#/jobs/{jobs[0]}", show_menu("More")),
        "state-dataset-menu": ("#/datasets/digits", show_menu("More")),
        "state-add-job": (f"#/compare?job={jobs[0]}&job={jobs[1]}", show_menu("Add job")),
        "state-field-errors": ("#/new", show_field_errors),
        "state-upload": ("#/datasets", show_upload),
    }


@pytest.mark.parametrize(("theme", "size"), WINDOWS)
def test_menus_and_messages_are_accessible_and_fit(
    visit: Callable[..., Visitor], jobs: list[str], theme: Any, size: tuple[int, int]
) -> None:
    found = {}
    for name, (view, act) in list_states(jobs).items():
        visitor = visit(theme=theme, size=size)
        act(visitor.open(view))
        visitor.page.wait_for_timeout(SETTLE_MS)
        visitor.take_screenshot(name)
        # An open menu covers a part of other targets.
        problems = [one for one in visitor.find_violations() if not one.startswith("target-size")]
        if (overflow := visitor.measure_overflow()) > 0:
            problems.append(f"the page is {overflow} pixels too wide")
        if problems:
            found[name] = problems
        visitor.page.close()
    assert found == {}


def test_the_frame_of_a_job_does_not_move_when_it_ends(visit: Callable[..., Visitor], client: Client) -> None:
    job = client.jobs.submit(TINY | {"epochs": 60, "name": "still"})
    page = visit().open(f"#/jobs/{job.id}")
    tabs = page.get_by_role("tablist")
    places = [tabs.bounding_box()]
    expect(page.locator("h1 .badge")).to_have_text("running")
    places.append(tabs.bounding_box())
    expect(page.locator("h1 .badge")).to_have_text("succeeded")
    expect(page.locator(".status")).to_contain_text("Trained 60 of 60 epochs")
    assert places == [tabs.bounding_box()] * 2


def test_a_single_job_asks_for_another_one_to_compare(visit: Callable[..., Visitor], jobs: list[str]) -> None:
    page = visit().open(f"#/compare?job={jobs[0]}")
    page.get_by_label("tiny-1").check()
    page.get_by_role("button", name="Compare 2 jobs").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 2 jobs")


def test_the_registered_epoch_is_evaluated_by_a_button(visit: Callable[..., Visitor], client: Client) -> None:
    keep_best = {"name": "keep_best", "monitor": "train_loss", "mode": "max"}  # the first epoch, not the last one
    spec = TINY | {"name": "first", "callbacks": [*TINY["callbacks"], keep_best]}
    job = client.jobs.submit(spec).wait().raise_for_failure()
    page = visit().open(f"#/jobs/{job.id}?tab=evaluation")
    page.get_by_role("button", name="Evaluate epoch 1").click()
    expect(page.locator("h1 .badge")).to_have_text("succeeded")
    expect(page.locator("#tab-panel .facts").first).to_contain_text("359")  # the same held-out samples


def test_two_jobs_are_selected_and_compared_by_keyboard(visit: Callable[..., Visitor], jobs: list[str]) -> None:
    page = visit().open("#/jobs?q=tiny-")
    for number in (1, 0):
        page.get_by_label(f"Select tiny-{number}").focus()
        page.keyboard.press("Space")
    page.get_by_role("link", name="Compare 2").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 2 jobs")
    page.wait_for_selector(".plot canvas")
    expect(page.get_by_role("rowheader", name="optimizer › lr")).to_be_visible()  # noqa: RUF001 - as the page shows it
    page.get_by_role("button", name="valid loss as a table").press("Enter")
    expect(page.locator(".chart table").first.get_by_role("row")).to_have_count(1 + 2)


def test_the_address_restores_a_view(visit: Callable[..., Visitor], jobs: list[str]) -> None:
    page = visit().open(f"#/compare?job={jobs[0]}&job={jobs[1]}")
    page.get_by_label("Log y").check()
    page.get_by_label("Smoothing").fill("0.5")
    address = page.url
    other = visit()
    other.page.goto(address)
    expect(other.page.get_by_label("Log y")).to_be_checked()
    expect(other.page.get_by_label("Smoothing")).to_have_value("0.5")


def test_figures_are_labeled_with_their_epoch(visit: Callable[..., Visitor], client: Client) -> None:
    spec = TINY | {"name": "best", "callbacks": [*TINY["callbacks"], {"name": "keep_best", "monitor": "valid_loss"}]}
    job = client.jobs.submit(spec).wait().raise_for_failure()
    page = visit().open(f"#/jobs/{job.id}?tab=evaluation")
    assert job.best_epoch is not None
    best = job.best_epoch["epoch"]
    facts = page.locator(".summary .facts")
    expect(facts).to_contain_text(f"valid accuracy · epoch {best}")
    expect(facts).to_contain_text(f"best epoch, {best} of 2")
    expect(page.locator("#tab-panel .facts").first).to_contain_text("last epoch, 2")
    page.get_by_role("button", name="Row %").click()
    expect(page.locator(".matrix td.right button").first).to_be_visible()
    assert "cells=share" in page.url
    page.goto(f"{page.url.split('#')[0]}#/jobs?q=best")
    expect(page.get_by_role("columnheader", name="valid accuracy · best")).to_be_visible()


def test_a_model_card_is_rendered_as_elements(visit: Callable[..., Visitor], jobs: list[str]) -> None:
    page = visit().open("#/models/tiny?tab=card")
    expect(page.locator(".markdown table").get_by_role("cell", name="valid accuracy")).to_be_visible()
    text = "# <b>x</b>\n\n[a](javascript:alert(1))\n\n- [a](javascript:alert(1))\n\n`x`[a](javascript:alert(1))\n\n"
    html = page.evaluate(RENDER_MARKDOWN, text + "[b](https://example.org) <img src=x> **open")
    assert "javascript:" not in html.replace("(javascript:", "")
    assert "**open" in html
    assert "<b>" not in html
    assert "<img" not in html
    assert html.count("<a ") == 1
    escaped = page.evaluate(RENDER_MARKDOWN, "\\*\\*a\\*\\* \\[b\\](https://example.org)\n\n| x |\n|---|\n| c\\|d |")
    assert "<p>**a** [b](https://example.org)</p>" in escaped
    assert '<td class="">c|d</td>' in escaped or "<td>c|d</td>" in escaped


def type_value(page: Page, label: str, text: str) -> None:
    field = page.get_by_label(label, exact=True)
    field.fill("")
    field.press_sequentially(text)
    field.press("Tab")


def test_a_form_shows_errors_at_their_fields_and_submits(visit: Callable[..., Visitor], client: Client) -> None:
    page = visit().open("#/new")
    type_value(page, "Epochs", "-1")
    expect(page.locator("#field-epochs-error")).to_be_visible()
    type_value(page, "Epochs", "1")
    type_value(page, "Learning rate", "0.02")
    batch_size = page.get_by_label("Batch size", exact=True)
    batch_size.fill("64")
    expect(page.locator(".check-panel h2")).to_contain_text("Ready to submit")  # a check ends while a field is edited
    expect(batch_size).to_have_value("64")
    batch_size.press("Tab")
    expect(page.get_by_label("YAML")).to_have_value(re.compile("batch_size: 64"))
    expect(page.locator(".check-panel h2")).to_contain_text("Ready to submit")
    yaml = page.get_by_label("YAML").input_value()
    assert [part for part in ("epochs: 1", "lr: 0.02", "batch_size: 64") if part not in yaml] == []
    page.get_by_role("button", name="Submit the job").click()
    expect(page.locator("h1 .badge")).to_be_visible()
    job = client.jobs.get(page.url.rsplit("/", 1)[1].split("?")[0])
    assert (job.response["spec"]["epochs"], job.response["spec"]["optimizer"]["lr"]) == (1, 0.02)


def test_a_dropped_folder_becomes_a_zip(visit: Callable[..., Visitor]) -> None:
    files = {"café": {"1.txt": "one", "2.txt": "two" * 1000}, "dog": {"3.txt": ""}}
    page = visit().open("#/datasets")
    with zipfile.ZipFile(io.BytesIO(bytes(page.evaluate(ZIP_FOLDER, files)))) as archive:
        assert archive.testzip() is None  # compares the checksums
        found = {name: archive.read(name).decode() for name in archive.namelist()}
    assert found == {f"{folder}/{name}": text for folder, texts in files.items() for name, text in texts.items()}


def test_curves_continue_while_the_service_restarts(browser: Browser, service: Service, client: Client) -> None:
    job = client.jobs.submit(TINY | {"epochs": 400, "name": "long"})
    wait_for(lambda: job.refresh().latest_metrics, "the first epoch, after the jobs of other tests", timeout_s=240)
    visitor = Visitor(browser, service.url)
    counter = RequestCounter(visitor.page)
    page = visitor.open(f"#/jobs/{job.id}?x=epoch")
    page.wait_for_selector(".plot canvas")
    before = read_epoch(page)
    for pid, command in service.processes().items():
        if "candela.serve" in command:
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: read_epoch(page) > before + 3, "more epochs on the page", timeout_s=120)
    expect(page.locator(".notice-bad")).to_have_count(0)
    job.cancel().wait()
    expect(page.locator("h1 .badge")).to_have_text("cancelled")
    page.get_by_role("button", name="loss as a table", exact=True).click()
    epochs = [int(text) for text in page.locator(".chart table tbody th").all_inner_texts()]
    assert len(epochs) > before + 3
    assert epochs[0] == 1
    assert set(np.diff(epochs[:-1])) == {epochs[1] - 1}  # no gap and no repeat; a long table omits epochs evenly
    assert counter.highest == 1
    visitor.close()


def read_epoch(page: Page) -> int:
    text = page.locator(".summary .job-progress span").inner_text()
    return int(text.split()[1])  # Epoch 3 of 400


def test_a_service_with_keys_asks_for_one_and_keeps_it_out_of_the_browser(browser: Browser, tmp_path: Path) -> None:
    service = Service(tmp_path / "home", variables={"CANDELA_API_KEYS": "right-key-0123456789"}).start()
    try:
        visitor = Visitor(browser, service.url)
        page = visitor.page
        page.goto(f"{service.url}/")
        page.get_by_label("API key").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_be_visible()
        visitor.take_screenshot("sign-in")
        assert visitor.find_violations() == []
        page.get_by_label("API key").fill("right-key-0123456789")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
        stored = page.evaluate(
            "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
        )
        assert "right-key" not in stored
        page.reload()
        expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
        assert [fault for fault in visitor.faults if "401" not in fault] == []
    finally:
        service.end()


def test_a_model_is_described_and_a_version_is_deleted_unless_it_is_undone(
    visit: Callable[..., Visitor], client: Client, jobs: list[str]
) -> None:
    client.jobs.submit(TINY | {"model": "doomed"}).wait().raise_for_failure()
    client.models.set_alias("doomed", "champion", 1)
    page = visit().open("#/models/doomed")
    page.get_by_role("button", name="Add description", exact=True).click()
    page.get_by_label("Description", exact=True).fill("For the demo.")
    page.get_by_label("Tags, separated").fill("demo 2026")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".description-text")).to_have_text("For the demo.")
    described = client.models.get("doomed")
    assert (described["description"], described["tags"]) == ("For the demo.", ["demo", "2026"])
    menu = page.locator("section.card").get_by_role("button", name="More")
    menu.click()
    page.get_by_role("button", name="Delete version").click()
    expect(page.get_by_role("dialog")).to_contain_text("the alias champion")
    expect(page.get_by_role("button", name="Delete", exact=True).last).to_be_disabled()
    page.get_by_role("button", name="Keep it").click()
    client.models.delete_alias("doomed", "champion")
    page.reload()
    for is_undone in (True, False):
        menu.click()
        page.get_by_role("button", name="Delete version").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
        if is_undone:
            page.get_by_role("button", name="Undo").click()
    wait_for(lambda: all(model["name"] != "doomed" for model in client.models.list()), "the deletion", 60)
