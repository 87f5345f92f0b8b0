"""The dashboard in a real browser: lineages as trees of links, and a training that is reproduced with a click."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Service
from tests.support.browser import WINDOWS, Visitor

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(300)]
TINY: dict[str, Any] = {
    "dataset": {"name": "digits", "valid": 0.2},
    "architecture": {"name": "mlp", "hidden": [16]},
    "epochs": 2,
    "threads": 1,
}


class Trained(NamedTuple):
    """The ids of a training, of one that starts from its model, and of a reproduction with another seed."""

    first: str
    tuned: str
    changed: str


@pytest.fixture(scope="module")
def trained(service: Service) -> Trained:
    with service.client() as client:
        first = client.jobs.submit({**TINY, "name": "body", "model": "body"}).wait().raise_for_failure()
        tuned = client.jobs.submit({**TINY, "name": "tuned", "model": "tuned", "init_from": "body@1"}).wait()
        client.models.create_variant("tuned", 1, "torch-export").wait().raise_for_failure()
        changed = tuned.raise_for_failure().reproduce({"seed": 2}).wait().raise_for_failure()
        return Trained(first.id, tuned.id, changed.id)


def check_view(visitor: Visitor, name: str) -> None:
    visitor.take_screenshot(name, full_page=True)
    assert visitor.find_violations() == []
    assert visitor.measure_overflow() <= 0


def read_tree(page: Page) -> str:
    return " ".join(page.locator(".ancestry").inner_text().split())


@pytest.mark.parametrize(("theme", "size"), WINDOWS)
def test_the_pages_are_accessible_in_both_themes_and_sizes(
    visit: Callable[..., Visitor], trained: Trained, theme: str, size: tuple[int, int]
) -> None:
    visitor = visit(theme=theme, size=size)
    page = visitor.open(f"#/jobs/{trained.tuned}?tab=lineage")
    expect(page.locator(".ancestry")).to_contain_text("starts from")
    check_view(visitor, "lineage-job")
    page = visitor.open("#/models/tuned")
    expect(page.locator(".ancestry")).to_contain_text("registered by")
    check_view(visitor, "lineage-model")
    page = visitor.open(f"#/jobs/{trained.changed}")
    expect(page.locator(".reproduction")).to_contain_text("Different")
    check_view(visitor, "lineage-verdict")


def test_the_lineage_leads_to_what_a_model_depends_on(visit: Callable[..., Visitor], trained: Trained) -> None:
    visitor = visit()
    page = visitor.open(f"#/jobs/{trained.tuned}?tab=lineage")
    tree = read_tree(page)
    assert tree.index("job tuned") < tree.index("uses digits@1") < tree.index("starts from body@1")
    assert tree.index("starts from body@1") < tree.index("registered by job body")
    assert "digits@1" in tree[tree.index("registered by job body") :]
    assert "(see above)" in tree
    expect(page.get_by_role("link", name="variant torch-export")).to_be_visible()
    expect(page.get_by_role("row", name="processor")).to_be_visible()
    link = page.locator(".ancestry").get_by_role("link", name="body@1")
    link.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("body")
    page.locator(".ancestry").get_by_role("link", name="job body").click()
    expect(page).to_have_url(f"{visitor.url}/#/jobs/{trained.first}")


def test_a_model_card_with_the_environment_is_copied(visit: Callable[..., Visitor], trained: Trained) -> None:
    visitor = visit()
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visitor.open("#/models/tuned")
    expect(page.get_by_role("table", name="Environment of the training")).to_contain_text("torch")
    page.get_by_role("button", name="Copy as model card (Markdown)").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    card = str(page.evaluate("navigator.clipboard.readText()"))
    assert card.startswith("# tuned, version 1\n")
    assert f"- Job: {trained.tuned}" in card
    assert "## Environment" in card
    assert "- threads: 1" in card


def test_a_click_reproduces_a_model_and_shows_the_verdict(visit: Callable[..., Visitor], trained: Trained) -> None:
    visitor = visit()
    page = visitor.open("#/models/body")
    page.get_by_role("button", name="Reproduce").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("reproduce-body")
    verdict = page.get_by_role("region", name="Reproduction")
    expect(verdict.get_by_role("heading")).to_contain_text("Identical")
    hashes = verdict.locator("code").all_inner_texts()
    assert len(hashes) == 2
    assert len(hashes[0]) == 64
    assert hashes[0] == hashes[1]
    expect(verdict).to_contain_text("The environments are the same.")
    visitor.take_screenshot("lineage-identical")
    expect(page.get_by_role("button", name="Register")).to_have_count(0)
    page.get_by_role("tab", name="Lineage").click()
    expect(page.locator(".ancestry")).to_contain_text("repeats job body")


def test_a_different_result_names_the_first_step_and_the_change(
    visit: Callable[..., Visitor], service: Service, trained: Trained
) -> None:
    with service.client() as client:
        result = client.jobs.get(trained.changed).result
    assert result is not None
    page = visit().open(f"#/jobs/{trained.changed}")
    table = page.get_by_role("region", name="What differs")
    first = result["first_difference"]
    row = table.get_by_role("row", name=f"loss of step {first['step']}, the first that differs")
    expect(row).to_contain_text(str(first["original"]))
    expect(row).to_contain_text(str(first["reproduced"]))
    expect(table.get_by_role("row", name="changed: seed")).to_contain_text("2")


def test_a_reproduction_that_is_refused_says_why(
    visit: Callable[..., Visitor], service: Service, trained: Trained
) -> None:
    with service.client() as client:
        job = client.jobs.submit({**TINY, "name": "longer", "model": "longer"}).wait().raise_for_failure()
        job.extend(1).wait().raise_for_failure()
    page = visit().open(f"#/jobs/{job.id}")
    page.get_by_role("button", name="Reproduce").click()
    expect(page.locator(".toast-bad")).to_contain_text("A training that was extended cannot be reproduced")
