"""The pages of sweeps in a real browser: the list, a sweep that has ended, and the form with its dry run."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from app.schemas.sweep_examples import SWEEPS
from candela import Client
from core.db.clock import now
from core.db.session import SessionFactory, make_engine, make_session_factory, transaction
from core.db.sweep_tables import SweepRow
from core.db.tables import JobRow
from core.jobs import JobState
from core.sweeps.states import SweepState
from tests.e2e.conftest import Service
from tests.support.browser import SETTLE_MS, WINDOWS, Visitor
from tests.support.finished_sweeps import add_finished_sweep
from tests.support.page_scripts import OVERTAKE_TRIALS, PARSE_SPACE
from tests.support.processes import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(600)]
TINY: dict[str, Any] = {
    "dataset": {"name": "digits", "valid": 0.2},
    "architecture": {"name": "mlp", "hidden": [16]},
    "metrics": ["accuracy"],
    "epochs": 2,
    "name": "digits-asha-5",
    "model": "digits",
    "threads": 1,
}


@pytest.fixture(scope="module")
def job(client: Client) -> str:
    return client.jobs.submit(TINY).wait().raise_for_failure().id


@pytest.fixture(scope="module")
def sessions(service: Service) -> Iterator[SessionFactory]:
    engine = make_engine(f"sqlite:///{(service.home / 'candela.db').absolute()}")
    yield make_session_factory(engine)
    engine.dispose()


@pytest.fixture(scope="module")
def sweep(service: Service, sessions: SessionFactory, job: str) -> str:
    """A sweep that has ended, whose best trial has a real job. The importance of its parameters is computed."""
    with transaction(sessions) as session:
        add_finished_sweep(session, name="a-much-longer-name-of-a-sweep-with-all-of-its-parameters-1")
        sweep_id = add_finished_sweep(session, job).id

    def compute_importance() -> httpx.Response | None:
        """Return the response, or None if a busy machine needed more time than the service allows."""
        response = httpx.get(f"{service.url}/v1/sweeps/{sweep_id}/importance", timeout=240)
        return None if response.status_code == httpx.codes.SERVICE_UNAVAILABLE else response

    importance = wait_for(compute_importance, "the importance", timeout_s=240)
    assert len(importance.json()["parameters"]) == 5
    return sweep_id


@pytest.fixture
def paused_sweep(sessions: SessionFactory, sweep: str) -> str:
    with transaction(sessions) as session:
        stored = add_finished_sweep(session, name="paused-sweep")
        stored.state, stored.finish_reason, stored.finished_at = SweepState.PAUSED, None, None
        return stored.id


def test_an_empty_list_offers_the_example(visit: Callable[..., Visitor], service: Service) -> None:
    visitor = visit()
    page = visitor.open("#/sweeps")
    visitor.take_screenshot("sweeps-empty")
    assert visitor.find_violations() == []
    page.get_by_role("button", name="Start the example sweep").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("digits-sweep")
    sweep_id = page.url.rsplit("/", 1)[1].split("?")[0]
    assert httpx.post(f"{service.url}/v1/sweeps/{sweep_id}/cancel").status_code == 202


def list_views(sweep: str, job: str) -> dict[str, str]:
    tabs = ("overview", "parameters", "trials", "spec")
    return {
        "sweeps": "#/sweeps",
        **{f"sweep-{tab}": f"#/sweeps/{sweep}?tab={tab}" for tab in tabs},
        "sweep-new": "#/sweeps/new",
        "sweep-from-job": f"#/sweeps/new?from={job}",
    }


@pytest.mark.parametrize(("theme", "size"), WINDOWS)
def test_every_page_of_sweeps_is_accessible_and_fits(
    visit: Callable[..., Visitor], sweep: str, job: str, theme: Any, size: tuple[int, int]
) -> None:
    visitor = visit(theme=theme, size=size)
    found = {}
    for name, view in list_views(sweep, job).items():
        page = visitor.open(view)
        if "new" in name or "from" in name:
            expect(page.locator(".check-panel h2")).to_contain_text("Ready to submit")
        if name == "sweep-overview":
            expect(page.locator(".importance tbody tr")).to_have_count(5)
        page.wait_for_timeout(SETTLE_MS)
        visitor.take_screenshot(name, full_page=True)
        problems = visitor.find_violations()
        if (overflow := visitor.measure_overflow()) > 0:
            problems.append(f"the page is {overflow} pixels too wide")
        if problems:
            found[name] = problems
    assert found == {}


def read_rows(page: Page, label: str) -> list[list[str]]:
    rows = page.get_by_role("region", name=label).locator("tbody tr")
    rows.first.wait_for()  # the table is drawn after its trials are loaded
    return [[text.strip() for text in row.locator("th, td").all_inner_texts()] for row in rows.all()]


def test_charts_have_the_scores_of_the_trials(visit: Callable[..., Visitor], sweep: str) -> None:
    visitor = visit()
    page = visitor.open(f"#/sweeps/{sweep}?logy=1")
    expect(page.get_by_label("Log score")).to_be_checked()
    page.get_by_role("button", name="valid loss by epochs spent as a table").press("Enter")
    rows = read_rows(page, "valid loss by epochs spent, values")
    # 19 trials of 1 epoch, 7 of which trained for 2 more, and 2 of these for 6 more
    assert [int(row[0]) for row in rows] == [*range(1, 20), *range(21, 34, 2), 39, 45]
    bests = [float(row[2]) for row in rows]
    assert bests == [min(float(row[1]) for row in rows[: index + 1]) for index in range(len(rows))]
    ladder = read_rows(page, "Ladder of milestones")
    assert [[row[0], *row[2:7]] for row in ladder] == [
        ["1 epoch", "19", "7", "0", "12", "1"],
        ["3 epochs", "7", "2", "0", "5", "0"],
        ["9 epochs", "2", "0", "2", "0", "0"],
    ]
    assert float(ladder[-1][-1]) == bests[-1]
    assert {row[0] for row in read_rows(page, "Importance of the parameters")} >= {"lr", "momentum", "batch size"}
    page.get_by_role("tab", name="Parameters").press("Enter")
    page.get_by_role("button", name="All parameters as a table").press("Enter")
    assert len(read_rows(page, "All parameters, values")) == 19


def test_trials_are_sorted_filtered_and_compared(visit: Callable[..., Visitor], sweep: str) -> None:
    page = visit().open(f"#/sweeps/{sweep}?tab=trials")
    page.get_by_role("button", name="Best valid loss").press("Enter")
    first = page.locator(".trials tbody tr").first
    expect(first.locator(".tag")).to_have_text("best")
    assert "sort=score" in page.url
    page.get_by_label("Select trial 6", exact=True).press("Space")
    first.get_by_role("checkbox").press("Space")
    page.get_by_role("link", name="Compare 2 jobs").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 2 jobs")
    page.go_back()
    page.get_by_label("State").select_option("failed")
    expect(page.locator(".trials tbody tr")).to_have_count(1)
    expect(page.locator(".trials .reason")).to_have_text("The loss is not finite in epoch 1.")


def test_the_best_trial_is_trained_longer(
    visit: Callable[..., Visitor], client: Client, service: Service, sweep: str, job: str
) -> None:
    page = visit().open(f"#/sweeps/{sweep}")
    page.get_by_role("button", name="Train longer").click()
    page.get_by_label("Additional epochs").fill("0")
    page.get_by_label("Additional epochs").evaluate("input => input.removeAttribute('min')")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("/epochs")
    page.get_by_label("Additional epochs").fill("1")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("digits-asha-5")
    extended = client.jobs.get(job).wait().raise_for_failure()
    assert extended.response["spec"]["epochs"] == TINY["epochs"] + 1
    expect(page.get_by_role("link", name="trial ")).to_have_attribute("href", re.compile(sweep))


def test_the_best_trial_can_be_trained_longer_as_soon_as_its_job_has_ended(
    visit: Callable[..., Visitor], sessions: SessionFactory, sweep: str, job: str
) -> None:
    def set_state(state: JobState) -> None:
        with transaction(sessions) as session:
            session.get_one(JobRow, job).state = state

    set_state(JobState.PAUSED)
    try:
        page = visit().open(f"#/sweeps/{sweep}")
        expect(page.get_by_role("link", name="Train as a new job")).to_be_visible()
    finally:
        set_state(JobState.SUCCEEDED)
    expect(page.get_by_role("button", name="Train longer")).to_be_visible()


@pytest.fixture
def running_sweep(client: Client, job: str) -> Iterator[str]:
    """A sweep that trains until the end of the test. It has a best trial."""
    assert job  # its dataset is imported
    space = {
        "/optimizer/lr": {"type": "float", "low": 0.001, "high": 0.1},
        "/batch_size": {"type": "choice", "values": [64]},
    }
    base = {name: value for name, value in TINY.items() if name not in ("name", "model")} | {"epochs": 1}
    started = client.sweeps.create({"base": base, "space": space, "budget": {"trials": 1000}, "sampler": "random"})
    wait_for(lambda: client.sweeps.get(started["id"])["best"] is not None, "the first score", 120)
    yield started["id"]
    client.sweeps.cancel(started["id"])


def test_a_trial_is_added_by_hand(visit: Callable[..., Visitor], service: Service, running_sweep: str) -> None:
    visitor = visit()
    page = visitor.open(f"#/sweeps/{running_sweep}?tab=trials&sort=-number")
    page.get_by_role("button", name="Add a trial").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("batch size")).to_have_value("64")
    visitor.take_screenshot("sweep-add-trial")
    assert visitor.find_violations() == []
    dialog.get_by_label("lr").fill("many")
    dialog.get_by_role("button", name="Add the trial").click()
    expect(dialog.get_by_role("alert")).to_contain_text("/parameters/~1optimizer~1lr")
    dialog.get_by_label("lr").fill("0.0123")
    dialog.get_by_role("button", name="Add the trial").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("status").filter(has_text="was added")).to_be_visible()
    trials = httpx.get(f"{service.url}/v1/sweeps/{running_sweep}/trials?limit=200").json()["items"]
    added = [one["parameters"] for one in trials if one["source"] != "sampler"]
    assert added == [{"/optimizer/lr": 0.0123, "/batch_size": 64}]


def test_a_late_response_does_not_replace_a_newer_one(visit: Callable[..., Visitor]) -> None:
    assert visit().open("#/sweeps/new").evaluate(OVERTAKE_TRIALS) == "2"


def test_the_list_of_jobs_remains_when_the_filter_of_its_sweep_changes(
    visit: Callable[..., Visitor], sweep: str
) -> None:
    page = visit().open(f"#/jobs?sweep={sweep}")
    page.locator("main h1").evaluate("heading => heading.dataset.mark = 'same'")
    page.evaluate("location.hash = '#/jobs'")
    expect(
        page.locator("[aria-label='Jobs'] tbody tr, .jobs tbody tr").filter(has_text=TINY["name"]).first
    ).to_be_visible()
    assert page.locator("main h1").get_attribute("data-mark") == "same"


def test_a_budget_that_is_spent_is_refused_in_the_dialog(visit: Callable[..., Visitor], sweep: str) -> None:
    visitor = visit()
    page = visitor.open(f"#/sweeps/{sweep}")
    page.get_by_role("button", name="Extend").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("spinbutton", name=re.compile("^Trials")).fill("12")
    dialog.get_by_role("button", name="Extend").click()
    expect(dialog.get_by_role("alert")).to_contain_text("must be above 20")
    visitor.take_screenshot("sweep-extend")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_a_page_follows_its_sweep_and_cancels_it(
    visit: Callable[..., Visitor], service: Service, sessions: SessionFactory, paused_sweep: str
) -> None:
    visitor = visit()
    streams: list[str] = []
    visitor.page.on("request", lambda request: streams.append(request.url) if "/v1/events" in request.url else None)
    page = visitor.open(f"#/sweeps/{paused_sweep}")
    expect(page.locator(".status")).to_contain_text("20 of 20 trials")
    with transaction(sessions) as session:
        row = session.get_one(SweepRow, paused_sweep)
        row.num_trials, row.revision = 21, row.revision + 1
        row.updated_at = session.scalars(select(now(session))).one()
    expect(page.locator(".status")).to_contain_text("21 of 20 trials")
    assert any("topic=sweeps" in url for url in streams)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the sweep").click()
    expect(page.locator("h1 .badge")).to_have_text(re.compile("finishing|cancelled"))
    state = httpx.get(f"{service.url}/v1/sweeps/{paused_sweep}").json()
    assert (state["state"] in ("finishing", "cancelled"), state["finish_reason"]) == (True, "cancelled")


def test_a_form_shows_errors_at_their_fields_and_starts_a_sweep(
    visit: Callable[..., Visitor], service: Service, job: str
) -> None:
    page = visit().open(f"#/jobs/{job}")
    page.get_by_role("link", name="Search from this job").click()
    title = page.locator(".check-panel h2")
    expect(title).to_contain_text("Ready to submit")
    expect(page.get_by_role("region", name="The first trials").locator("tbody tr")).to_have_count(5)
    low = page.get_by_label("Low", exact=True)
    low.fill("2")
    expect(page.locator(".space-row .error")).to_contain_text("low must be less than high")
    low.fill("many")
    expect(low).to_have_attribute("aria-invalid", "true")
    low.fill("0.001")
    expect(title).to_contain_text("Ready to submit")
    base = page.get_by_label("Job of each trial")
    text = base.input_value()
    base.fill(re.sub(r"epochs: \d+", "epochs: -2", text))
    expect(page.locator("#base-errors")).to_contain_text("/epochs")
    base.fill("epochs: [")
    expect(page.get_by_role("button", name="Start the sweep")).to_be_disabled()
    base.fill(text)
    page.get_by_role("button", name="Add a parameter").click()
    field = page.get_by_label("Field", exact=True).last
    field.fill("/batch_size")
    field.press("Tab")
    expect(page.get_by_label("High", exact=True).last).not_to_have_value("")
    page.get_by_label("Trials", exact=True).fill("3")
    page.get_by_label("Trials", exact=True).press("Tab")
    expect(title).to_contain_text("Ready to submit")
    page.get_by_role("button", name="Start the sweep").click()
    expect(page.locator("h1 .badge")).to_be_visible()
    started = httpx.get(f"{service.url}/v1/sweeps/{page.url.rsplit('/', 1)[1].split('?')[0]}").json()
    assert list(started["spec"]["space"]) == ["/optimizer/lr", "/batch_size"]
    assert started["spec"]["space"]["/optimizer/lr"]["low"] == 0.001
    assert started["budget"]["trials"]["limit"] == 3
    assert started["spec"]["base"]["architecture"]["hidden"] == TINY["architecture"]["hidden"]
    expect(page.locator("h1 .badge")).to_have_text("succeeded", timeout=300_000)  # without a reload
    expect(page.locator(".status")).to_contain_text("3 of 3 trials")
    expect(page.get_by_role("region", name="Best trial")).to_contain_text("batch size")
    assert len(read_rows(page, "Ladder of milestones")) == 1


def test_the_rows_of_a_form_keep_every_space(visit: Callable[..., Visitor]) -> None:
    values = (["a", "b-1", 1, True, None], ["a", "1"], ["b, c", "d"], [[1], [2, 3]], [{"name": "adam"}, "sgd"])
    choices = [{"/loss": {"type": "choice", "values": each}} for each in values]
    texts = {"type": "choice", "values": [1, 2], "when": {"/a": 'x; "y" = z, w', "/b": ["p;q", "r,s", 3], "/c": "t"}}
    spaces = [*(example["value"]["space"] for example in SWEEPS.values()), *choices, {"/d": texts}]
    page = visit().open("#/sweeps/new")
    assert page.evaluate(PARSE_SPACE, spaces) == spaces
