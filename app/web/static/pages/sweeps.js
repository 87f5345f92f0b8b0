// The list of sweeps: how far each is, and its best score.
import { html, useState } from "../lib/preact.js";
import { buildPath, request } from "../lib/api.js";
import { useEvents } from "../lib/events.js";
import { formatAge, formatCount, formatDuration, formatMetricName, formatNumber, formatTime } from "../lib/format.js";
import { useResource, useThrottle } from "../lib/resource.js";
import { href, navigate } from "../lib/router.js";
import { getExample, STATES } from "../lib/sweeps.js";
import { PageHead, SearchField, StateBadge, Table } from "../components/controls.js";
import { attempt, EmptyState, Loaded } from "../components/feedback.js";
import { Icon } from "../components/icon.js";
import { FilterSelect, Pager, useSearchText } from "../components/list_parts.js";
import { BudgetProgress } from "../components/sweep_parts.js";

const LIMIT = 50;

export default function SweepsPage({ query }) {
  const [q, state, cursor] = ["q", "state", "cursor"].map((name) => query.get(name) || "");
  const sweeps = useResource(buildPath("v1/sweeps", { q, state, cursor, limit: LIMIT }), { everyMs: 10000 });
  useEvents(["sweeps"], useThrottle(sweeps.refresh, 1000));
  const [text, setText] = useSearchText(q);
  const isEmpty = sweeps.value && sweeps.value.items.length === 0 && !q && !state && !cursor;
  return html`
    <${PageHead} title="Sweeps">${!isEmpty && html`<a class="button primary" href=${href("/sweeps/new")}><${Icon} name="plus" /> New sweep</a>`}<//>
    ${!isEmpty &&
    html`<form class="toolbar" role="search" onSubmit=${(event) => event.preventDefault()}>
      <${SearchField} label="Search sweeps by name or id" text=${text} onInput=${setText} />
      <${FilterSelect} name="state" label="State" chosen=${state} values=${STATES} />
    </form>`}
    <${Loaded} resource=${sweeps} lines=${8}>${(page) => (isEmpty ? html`<${FirstSweep} />` : html`<${SweepTable} page=${page} query=${query} />`)}<//>
  `;
}

function FirstSweep() {
  const [isBusy, setBusy] = useState(false);
  const start = () =>
    attempt(async () => {
      setBusy(true);
      try {
        const sweep = await request("v1/sweeps", { method: "POST", json: getExample(await request("openapi.json")) });
        navigate(href(`/sweeps/${sweep.id}`));
      } finally {
        setBusy(false);
      }
    });
  return html`<${EmptyState} icon="sweeps" title="Search for better parameters">
    <p>A sweep trains one job for each set of parameters, learns from their scores, and spends most epochs on the best ones. The example searches the learning rate, the batch size and the width of a small network on 1,797 scanned digits: 15 trials, a few minutes on a laptop.</p>
    <button type="button" class="primary large" disabled=${isBusy} onClick=${start}><${Icon} name="play" /> Start the example sweep</button>
    <p>Or <a href=${href("/sweeps/new")}>write your own sweep</a>, or start one from the page of a <a href=${href("/jobs")}>job</a>.</p>
  <//>`;
}

function SweepTable({ page, query }) {
  const count = page.items.length;
  return html`
    <${Table} class="cards sweeps" label="Sweeps" head=${["Name", "State", "Budget used", "Best score", "Duration#", "Started#"]} rows=${page.items.map(buildRow)} />
    <${Pager} path="/sweeps" query=${query} next=${page.next_cursor}>${count === 0 ? "No sweep matches." : `${formatCount(count, "sweep")}${page.next_cursor ? " on this page" : ""}`}<//>
  `;
}

/** @param {any} sweep @returns {[string, any[]]} */
function buildRow(sweep) {
  const { objective, best } = sweep;
  return [
    sweep.id,
    [
      html`<a class="sweep-name" title=${sweep.name} href=${href(`/sweeps/${sweep.id}`)}>${sweep.name}</a>`,
      html`<${StateBadge} state=${sweep.state} />`,
      html`<${BudgetProgress} sweep=${sweep} isShort />`,
      best && html`<b>${formatNumber(best.score)}</b> <span class="dim">${formatMetricName(objective.metric)} ${objective.direction === "min" ? "↓" : "↑"}</span>`,
      formatDuration(sweep.elapsed_s),
      html`<span class="dim" title=${formatTime(sweep.created_at)}>${formatAge(sweep.created_at)}</span>`,
    ],
  ];
}
