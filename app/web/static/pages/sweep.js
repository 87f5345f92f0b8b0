// One sweep: its state, its budget, its best trial, and tabs with charts, trials and the spec.
import { html } from "../lib/preact.js";
import { formatAge, formatCount, formatDuration, formatMetricName, formatNumber, formatTime } from "../lib/format.js";
import { href, navigate } from "../lib/router.js";
import { useSweep, useTrials } from "../lib/sweep_trials.js";
import { canExtend, ENDED, formatParameter, listSweepActions, nameParameters, runSweepAction } from "../lib/sweeps.js";
import { Facts, Menu, PageHead, StateBadge, Tabs } from "../components/controls.js";
import { attempt, Lazy, Loaded } from "../components/feedback.js";
import { Icon } from "../components/icon.js";
import { DeleteButton } from "../components/resource_actions.js";
import { BudgetProgress } from "../components/sweep_parts.js";
import { CancelButton, ExtendButton, TrainLongerButton } from "./sweep/actions.js";
import { OverviewTab } from "./sweep/overview.js";

const TABS = /** @type {[string, string][]} */ ([
  ["overview", "Overview"],
  ["parameters", "Parameters"],
  ["trials", "Trials"],
  ["spec", "Spec"],
]);
// The other tabs are loaded when they open.
const loadParameters = () => import("./sweep/parameters.js").then((module) => module.ParametersTab);
const loadTrials = () => import("./sweep/trials.js").then((module) => module.TrialsTab);
const loadSpec = () => import("./sweep/spec.js").then((module) => module.SweepSpecTab);

export default function SweepPage({ name: id, query }) {
  const sweep = useSweep(id);
  return html`<${Loaded} resource=${sweep}>${(value) => html`<${SweepView} sweep=${value} query=${query} onChange=${sweep.replace} />`}<//>`;
}

function SweepView({ sweep, query, onChange }) {
  const tab = query.get("tab") || "overview";
  const trials = useTrials(tab === "overview" || tab === "parameters" ? sweep : null);
  return html`
    <${PageHead} title=${sweep.name} badge=${html`<${StateBadge} state=${sweep.state} />`} crumbs=${html`<a href=${href("/sweeps")}>Sweeps</a> / <code>${sweep.id.slice(0, 8)}</code>`}>
      <${Actions} sweep=${sweep} onChange=${onChange} />
    <//>
    <div class="summary">
      <p class="status" role="status"><${BudgetProgress} sweep=${sweep} />${sweep.finish_reason && html`<span class="dim">${describeEnd(sweep)}</span>`}</p>
      <${Summary} sweep=${sweep} />
    </div>
    ${sweep.best && html`<${BestTrial} sweep=${sweep} />`}
    <${Tabs} name="tab" chosen=${tab} tabs=${TABS} label="Views of the sweep" />
    <div id="tab-panel" role="tabpanel" aria-labelledby=${`tab-${tab}`} tabindex="-1" key=${tab}>${renderTab(tab, sweep, trials, query)}</div>
  `;
}

/** @param {string} tab @param {any} sweep @param {ReturnType<typeof useTrials>} trials @param {URLSearchParams} query */
function renderTab(tab, sweep, trials, query) {
  if (tab === "trials") return html`<${Lazy} load=${loadTrials} sweep=${sweep} query=${query} />`;
  if (tab === "spec") return html`<${Lazy} load=${loadSpec} sweep=${sweep} />`;
  return html`<${Loaded} resource=${trials}>
    ${(list) => html`
      ${!trials.isComplete && html`<p class="dim">The charts show the first ${formatNumber(list.length)} trials.</p>`}
      ${tab === "parameters" ? html`<${Lazy} load=${loadParameters} sweep=${sweep} trials=${list} query=${query} />` : html`<${OverviewTab} sweep=${sweep} trials=${list} query=${query} />`}`}
  <//>`;
}

function Actions({ sweep, onChange }) {
  const act = (action) => attempt(async () => onChange(await runSweepAction(sweep.id, action)));
  const [first, ...others] = listSweepActions(sweep).map(([action, icon, text]) => (action === "cancel" ? html`<${CancelButton} key=${action} sweep=${sweep} onCancel=${() => act(action)} />` : html`<button key=${action} type="button" onClick=${() => act(action)}><${Icon} name=${icon} /> ${text}</button>`));
  const hasEnded = ENDED.has(sweep.state);
  const rest = html`${others}
    ${canExtend(sweep) && html`<${ExtendButton} sweep=${sweep} onChange=${onChange} />`}
    <a class="button" href=${href("/sweeps/new", { sweep: sweep.id })}><${Icon} name="copy" /> Clone</a>`;
  return html`
    ${sweep.registered && hasEnded ? html`<a class="button primary" href=${href("/predict", { model: `${sweep.registered.name}@${sweep.registered.version}` })}><${Icon} name="predict" /> Try it</a>` : first}
    <span class="only-wide">${rest}</span>
    <span class=${hasEnded ? "" : "only-narrow"}><${Menu} label="More">
      <span class="only-narrow">${rest}</span>
      <a class="button" href=${href("/jobs", { sweep: sweep.id })}><${Icon} name="jobs" /> Jobs</a>
      ${hasEnded && html`<${DeleteButton} label="Delete" name=${sweep.name} path=${`v1/sweeps/${sweep.id}`} onDeleted=${() => navigate(href("/sweeps"))} note="The sweep and its list of trials are deleted for good. Its jobs and models remain." />`}
    <//></span>
  `;
}

/** Why a sweep has ended, or finishes. @param {any} sweep */
function describeEnd(sweep) {
  const reason = sweep.finish_reason;
  if (reason.startsWith("budget.")) return `The limit of ${reason.slice(7)} is reached.`;
  const texts = { complete: "All parameters of the space were tried.", cancelled: "Cancelled.", finish_requested: "Finished early by request.", objective_reaches: "A trial has reached the objective.", no_gain_in_trials: "The last trials were not better." };
  return texts[reason] || `${reason.replaceAll("_", " ")}.`;
}

function Summary({ sweep }) {
  const { objective, trials, dataset, registered } = sweep;
  const counts = Object.entries(trials).filter(([name, count]) => name !== "total" && count > 0).map(([name, count]) => `${formatNumber(count)} ${name}`);
  const wait = (value) => value || (ENDED.has(sweep.state) ? null : "–");
  return html`<${Facts}
    items=${[
      ["Objective", `${formatMetricName(objective.metric)} ${objective.direction === "min" ? "↓" : "↑"}`],
      ["Trials", html`${formatNumber(trials.total)}${counts.length > 0 && html` <span class="dim">${counts.join(", ")}</span>`}`],
      ["Sampler", sweep.sampler],
      ["Scheduler", sweep.scheduler],
      ["Parallel", sweep.parallel],
      ["Duration", formatDuration(sweep.elapsed_s)],
      ["Model", wait(registered && html`<a href=${href(`/models/${registered.name}`, { version: registered.version })}>${registered.name}@${registered.version}</a>`)],
      ["Dataset", dataset && html`<a href=${href(`/datasets/${dataset.name}`)}>${dataset.name}@${dataset.version}</a>`],
      ["Started", html`<time datetime=${sweep.created_at} title=${formatTime(sweep.created_at)}>${formatAge(sweep.created_at)}</time>`],
    ]}
  />`;
}

/** The best trial so far, its parameters, and what can be done with it. */
function BestTrial({ sweep }) {
  const { best, objective } = sweep;
  const names = nameParameters(Object.keys(sweep.spec.space));
  return html`<section class="card best-trial" aria-label="Best trial">
    <div><h2>${formatNumber(best.score)}</h2><p class="dim">${formatMetricName(objective.metric)}, trial ${best.number}${best.epochs !== null && ` after ${formatCount(best.epochs, "epoch")}`}</p></div>
    <${Facts} items=${Object.entries(best.parameters).map(([pointer, value]) => [names.get(pointer) || pointer, html`<span title=${pointer}>${formatParameter(value)}</span>`])} />
    <div class="actions">${best.jobs.length > 0 && html`<a class="button" href=${href(`/jobs/${best.jobs[0]}`)}><${Icon} name="jobs" /> Job</a><${TrainLongerButton} jobId=${best.jobs[0]} revision=${sweep.revision} />`}</div>
  </section>`;
}
