"""Measures the dashboard in headless Chromium: long curves, many runs, many tabs, and the delay of live curves.

    .venv/bin/python -m benchmarks.dashboard [--rounds 5]

Requires Chromium (`apt-get install chromium`). It starts its own service with a database that it fills: 20 jobs with
curves of 100,000 steps and 200 jobs with curves of 2,000 steps. benchmarks/RESULTS.md has the targets.

- *response*: from the request of a chart to the last byte of its body; *draw*: from there until the chart is drawn,
  parsing included.
- *frame*: from a change of the smoothing slider until the chart is drawn again.
- *longest frame*: the longest gap between two frames of the animation while the page loads and while the slider moves.
- *delay*: from the commit of a training step until a chart shows it.
"""

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from playwright.sync_api import Browser, Page
from sqlalchemy import create_engine, func, select, text

from benchmarks.dashboard_data import fill_jobs
from candela import Client
from core.db.schema import upgrade_schema
from core.db.session import make_engine, make_session_factory
from core.db.tables import MetricPointRow
from tests.e2e.conftest import Service
from tests.support.browser import Visitor, start_browser

# Records, in every page, when a chart is drawn and up to which x, and the gaps between frames.
RECORDER = """
(() => {
  const record = (window.record = { draws: [], gaps: [] });
  let constructor;
  Object.defineProperty(window, "uPlot", {
    configurable: true,
    get: () => constructor,
    set: (value) => {
      constructor = new Proxy(value, {
        construct: (target, [options, ...rest]) => {
          const drawn = (plot) => {
            const y = plot.data[1] || [];
            let last = y.length - 1;
            while (last >= 0 && y[last] === null) last -= 1;
            record.draws.push({ at: performance.now(), wall: Date.now(), last: plot.data[0][last] ?? null });
          };
          options.hooks = { ...options.hooks, draw: [...(options.hooks?.draw || []), drawn] };
          return new target(options, ...rest);
        },
      });
    },
  });
  let before = performance.now();
  const frame = (now) => {
    record.gaps.push([now, now - before]);
    before = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})();
"""
SLIDE = """async (values) => {
  const slider = document.querySelector("input[type=range]");
  const frames = [];
  for (const value of values) {
    const count = record.draws.length, startedAt = performance.now();
    slider.value = value;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    while (record.draws.length === count) await new Promise(requestAnimationFrame);
    await new Promise((resolve) => setTimeout(resolve));
    frames.push(record.draws[record.draws.length - 1].at - startedAt);
  }
  return frames;
}"""
CHARTS = """() => performance.getEntriesByType("resource")
  .filter((entry) => entry.name.includes("/v1/metrics"))
  .map((entry) => ({ start: entry.startTime, end: entry.responseEnd, bytes: entry.encodedBodySize }))"""
REQUESTS = """() => performance.getEntriesByType("resource")
  .filter((entry) => entry.name.includes("/v1/") && !entry.name.includes("/v1/events"))
  .map((entry) => [entry.duration, new URL(entry.name).pathname])"""
LIVE = {
    "dataset": {"name": "digits", "valid": 0.2},
    "architecture": {"name": "convnet", "channels": [16, 32]},
    "batch_size": 32,
    "epochs": 40,
    "threads": 1,
}


def format_times(values: Iterable[float], unit: str = "ms") -> str:
    ordered = sorted(values)
    high = ordered[-1 - len(ordered) // 20]
    return f"{ordered[0]:.0f} / {statistics.median(ordered):.0f} / {high:.0f} / {ordered[-1]:.0f} {unit}"


def open_view(browser: Browser, url: str, view: str) -> Visitor:
    visitor = Visitor(browser, url)
    visitor.context.add_init_script(RECORDER)
    visitor.open(view)
    return visitor


def wait_until_drawn(page: Page, quiet_s: float = 1.0) -> None:
    """Wait until charts were drawn and nothing has been drawn for a while."""
    count, since = -1, time.monotonic()
    while count <= 0 or time.monotonic() - since < quiet_s:
        now = page.evaluate("record.draws.length")
        if now != count:
            count, since = now, time.monotonic()
        page.wait_for_timeout(50)


def measure_comparison(browser: Browser, url: str, ids: list[str], rounds: int) -> dict[str, list[float]]:
    """Compare jobs in a new window each round, and move the slider of the smoothing."""
    found: dict[str, list[float]] = {name: [] for name in ("response", "kB", "draw", "frame", "longest frame")}
    view = "#/compare?" + "&".join(f"job={one}" for one in ids)
    for _ in range(rounds + 1):
        visitor = open_view(browser, url, view)
        wait_until_drawn(visitor.page)
        chart = max(visitor.page.evaluate(CHARTS), key=lambda entry: entry["bytes"])
        draws = visitor.page.evaluate("record.draws")
        found["response"].append(chart["end"] - chart["start"])
        found["kB"].append(chart["bytes"] / 1000)
        found["draw"].append(max(draw["at"] for draw in draws) - chart["end"])
        frames = visitor.page.evaluate(SLIDE, [round(0.03 * step, 2) for step in range(1, 31)])
        found["frame"].append(statistics.median(frames))
        found["longest frame"].append(max(gap for _, gap in visitor.page.evaluate("record.gaps")))
        visitor.close()
    return {name: values[1:] for name, values in found.items()}


def measure_many_tabs(browser: Browser, url: str, client: Client, num_tabs: int = 10) -> tuple[list[float], str]:
    """Open tabs that follow two running jobs; return the durations of all requests and the slowest one."""
    jobs = [
        client.jobs.submit(LIVE | {"name": f"live-{number}", "seed": number, "epochs": 2000}) for number in range(2)
    ]
    wait_for_steps(client, jobs[0].id)
    first = open_view(browser, url, f"#/jobs/{jobs[0].id}")
    pages = [first.page]
    for number in range(1, num_tabs):
        page = first.context.new_page()
        page.goto(f"{url}/#/jobs/{jobs[number % 2].id}")
        page.wait_for_selector("main h1")
        pages.append(page)
    for page in pages:  # measure the tabs at work, not their start
        page.wait_for_timeout(500)
        page.evaluate("performance.clearResourceTimings()")
    pages[-1].wait_for_timeout(20_000)
    requests = [entry for page in pages for entry in page.evaluate(REQUESTS)]
    for job in jobs:
        job.cancel()
    first.close()
    slowest = max(requests)
    return [duration for duration, _ in requests], slowest[1]


def wait_for_steps(client: Client, job_id: str) -> None:
    while not client.jobs.get(job_id).latest_metrics:
        time.sleep(0.2)


class StepWatcher(threading.Thread):
    """Records when each step of a job became visible in the database."""

    def __init__(self, url: str, job_id: str) -> None:
        super().__init__(daemon=True)
        self.engine, self.job_id = create_engine(url), job_id
        self.seen: list[tuple[float, int]] = []
        self.is_stopped = False

    def run(self) -> None:
        newest = select(func.max(MetricPointRow.step)).where(
            MetricPointRow.job_id == self.job_id, MetricPointRow.split == "valid", MetricPointRow.name == "loss"
        )
        while not self.is_stopped:
            with self.engine.connect() as connection:
                step = connection.execute(newest).scalar()
            if step is not None and (not self.seen or step > self.seen[-1][1]):
                self.seen.append((time.time() * 1000, step))
            time.sleep(0.01)


def measure_delay(browser: Browser, url: str, database_url: str, client: Client) -> list[float]:
    """Return, in ms, for each epoch of a running job, the time from its commit until a chart shows it."""
    job = client.jobs.submit(LIVE | {"name": "delay", "epochs": 2000})
    wait_for_steps(client, job.id)
    visitor = open_view(browser, url, f"#/jobs/{job.id}")
    wait_until_drawn(visitor.page, 0.1)
    watcher = StepWatcher(database_url, job.id)
    watcher.start()
    visitor.page.wait_for_timeout(20_000)
    watcher.is_stopped = True
    draws = visitor.page.evaluate("record.draws")
    visitor.close()
    job.cancel()
    delays = []
    for written_at, step in watcher.seen[1:-2]:
        drawn = [draw["wall"] for draw in draws if draw["last"] is not None and draw["last"] >= step]
        if drawn:
            delays.append(max(min(drawn) - written_at, 0))
    return delays


def print_row(label: str, times: str) -> None:
    print(f"| {label} | {times} |", flush=True)


def run(home: Path, rounds: int) -> None:
    """Measure everything, and print the rows of a table."""
    database_url = f"sqlite:///{home / 'candela.db'}"
    upgrade_schema(database_url)
    engine = make_engine(database_url)
    sessions = make_session_factory(engine)
    random.seed(1)
    long = fill_jobs(sessions, 20, 100_000)
    many = fill_jobs(sessions, 200, 2000)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
    engine.dispose()
    service = Service(home).start()
    try:
        with start_browser() as browser, service.client() as client:
            for label, ids in (("20 runs x 100,000 steps", long), ("200 runs x 2,000 steps", many)):
                found = measure_comparison(browser, service.url, ids, rounds)
                for name in ("response", "kB", "draw", "frame", "longest frame"):
                    print_row(f"{label}: {name}", format_times(found[name], "kB" if name == "kB" else "ms"))
            delays = measure_delay(browser, service.url, database_url, client)
            print_row(f"metric committed to drawn, {len(delays)} epochs", format_times(delays))
            durations, slowest = measure_many_tabs(browser, service.url, client)
            label = f"ten tabs on two running jobs, {len(durations)} requests (slowest: `{slowest}`)"
            print_row(label, format_times(durations))
    finally:
        service.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        print("| figure | min / median / 95 % / max |\n|---|--:|", flush=True)
        run(home, options.rounds)


if __name__ == "__main__":
    main()
