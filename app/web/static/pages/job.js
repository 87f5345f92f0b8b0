// One job: its state, actions and tabs.
import { html, useState } from "../lib/preact.js";
import { request } from "../lib/api.js";
import { useEvents } from "../lib/events.js";
import { formatAge, formatCount, formatDuration, formatMetricName, formatNumber, formatTime } from "../lib/format.js";
import { ENDED, getDuration, listActions, runAction } from "../lib/jobs.js";
import { useResource, useThrottle } from "../lib/resource.js";
import { href, navigate } from "../lib/router.js";
import { Facts, JobProgress, Menu, PageHead, StateBadge, Tabs } from "../components/controls.js";
import { attempt, Lazy, Loaded } from "../components/feedback.js";
import { Icon } from "../components/icon.js";
import { ReproduceButton } from "../components/lineage.js";
import { DeleteButton } from "../components/resource_actions.js";
import { CurvesTab, UsageTab } from "./job/curves.js";
import { CheckpointsTab, HistoryTab, LogTab } from "./job/history.js";
import { LineageTab, Reproduction } from "./job/lineage.js";

const TABS = /** @type {[string, string][]} */ ([
  ["curves", "Curves"],
  ["log", "Log"],
  ["checkpoints", "Checkpoints"],
  ["evaluation", "Evaluation"],
  ["usage", "Resources"],
  ["spec", "Spec"],
  ["history", "History"],
  ["lineage", "Lineage"],
]);

// The tabs with the results and with YAML are loaded when they open.
const loadEvaluation = () => import("./job/evaluation.js").then((module) => module.EvaluationTab);
const loadSpec = () => import("./job/spec.js").then((module) => module.SpecTab);

export default function JobPage({ name: id, query }) {
  const job = useResource(`v1/jobs/${id}`, { everyMs: 5000 });
  const refresh = useThrottle(job.refresh);
  const isActive = job.value !== undefined && !ENDED.has(job.value.state);
  useEvents(isActive ? [id] : [], (event) => {
    if (event.type === "log" || event.job !== id) return;
    const { progress, metrics } = event.payload;
    if (!progress || !job.value) return refresh();
    // The event contains what changed, so that a running job needs no request for each of them.
    const changes = event.type === "epoch" ? { metrics } : {};
    return job.replace((value) => ({ ...value, ...changes, progress: { ...value.progress, ...progress } }));
  });
  return html`<${Loaded} resource=${job}>${(value) => html`<${JobView} job=${value} query=${query} onChange=${job.replace} />`}<//>`;
}

function JobView({ job, query, onChange }) {
  const tab = query.get("tab") || "curves";
  const act = (action) => attempt(async () => onChange({ ...job, ...(await runAction(job.id, action)) }));
  const [first, ...others] = listActions(job).map(([action, icon, text]) => html`<button key=${action} type="button" onClick=${() => act(action)}><${Icon} name=${icon} /> ${text}</button>`);
  const rest = html`${others}
    <a class="button" href=${href("/new", { from: job.id })}><${Icon} name="copy" /> Clone</a>
    ${job.kind === "train" && html`<a class="button" href=${href("/compare", { job: [job.id] })}><${Icon} name="compare" /> Compare</a>
      <a class="button" href=${href("/sweeps/new", { from: job.id })}><${Icon} name="sweeps" /> Search from this job</a>`}
    ${job.kind === "train" && job.state === "succeeded" && html`<${ReproduceButton} path=${`v1/jobs/${job.id}`} />`}`;
  const hasEnded = ENDED.has(job.state);
  return html`
    <${PageHead} title=${job.name} badge=${html`<${StateBadge} state=${job.state} />`} crumbs=${html`<a href=${href("/jobs")}>Jobs</a> / <code>${job.id.slice(0, 8)}</code>${job.sweep && html`, <a href=${href(`/sweeps/${job.sweep.id}`)}>trial ${job.sweep.trial} of a sweep</a>`}`}>
      ${job.model && hasEnded ? html`<a class="button primary" href=${href("/predict", { model: `${job.model.name}@${job.model.version}` })}><${Icon} name="predict" /> Try it</a>` : first}
      <span class="only-wide">${rest}</span>
      <span class=${hasEnded ? "" : "only-narrow"}><${Menu} label="More">
        <span class="only-narrow">${rest}</span>
        ${hasEnded && html`<${DeleteButton} label="Delete" name=${job.name} path=${`v1/jobs/${job.id}`} onDeleted=${() => navigate(href("/jobs"))} note="Its metrics, log, checkpoints and artifacts are deleted for good. The model version it registered remains." />`}
      <//></span>
    <//>
    <${TagRow} job=${job} onChange=${onChange} />
    <${Banner} job=${job} />
    <div class="summary">
      <${Status} job=${job} />
      <${Summary} job=${job} />
    </div>
    ${job.kind === "reproduce" && html`<${Reproduction} job=${job} />`}
    <${Tabs} name="tab" chosen=${tab} tabs=${TABS} label="Views of the job" />
    <div id="tab-panel" role="tabpanel" aria-labelledby=${`tab-${tab}`} tabindex="-1" key=${tab}>${renderTab(tab, job, query)}</div>
  `;
}

/** @param {string} tab @param {any} job @param {URLSearchParams} query */
function renderTab(tab, job, query) {
  if (tab === "log") return html`<${LogTab} job=${job} />`;
  if (tab === "checkpoints") return html`<${CheckpointsTab} job=${job} />`;
  if (tab === "evaluation") return html`<${Lazy} load=${loadEvaluation} job=${job} query=${query} />`;
  if (tab === "usage") return html`<${UsageTab} job=${job} />`;
  if (tab === "spec") return html`<${Lazy} load=${loadSpec} job=${job} />`;
  if (tab === "lineage") return html`<${LineageTab} job=${job} />`;
  if (tab === "history") return html`<${HistoryTab} job=${job} />`;
  return html`<${CurvesTab} job=${job} query=${query} />`;
}

/** How far the job is, or why it waits: always one line, so that nothing moves when its state changes. */
function Status({ job }) {
  const waits = job.waits_for
    ? html`Waits for the import of <a href=${href(`/datasets/${job.waits_for.name}`)}>${job.waits_for.name}@${job.waits_for.version}</a>.`
    : job.queue_reason || (job.queue_position ? `${formatCount(job.queue_position, "job")} before this one.` : "The next job to be claimed.");
  return html`<p class="status" role="status"><${JobProgress} job=${job} />${job.state === "queued" && html`<span>${waits}</span>`}${job.stop_reason && html`<span class="dim">${job.stop_reason === "milestone" ? "Paused at a milestone. Resume the job to continue it." : `Stopped: ${job.stop_reason}`}</span>`}</p>`;
}

/** Why the job failed, and what to watch out for. */
function Banner({ job }) {
  const { failure } = job;
  return html`
    ${failure &&
    html`<div class="notice notice-bad" role="alert">
      <${Icon} name="warning" />
      <div class="grow"><strong>${failure.message}</strong><p>${failure.hint}</p></div>
      <a class="button" href=${href("/new", { from: job.id })}>Clone and change</a>
    </div>`}
    ${(job.warnings || []).map((text) => html`<div class="notice notice-warn" key=${text}><${Icon} name="warning" /><div>${text}</div></div>`)}
  `;
}

/** The tags of a job, and a field for another one. */
function TagRow({ job, onChange }) {
  const [text, setText] = useState("");
  const put = (tags) => attempt(async () => (onChange({ ...job, ...(await request(`v1/jobs/${job.id}`, { method: "PATCH", json: { tags } })) }), setText("")));
  const add = (event) => {
    event.preventDefault();
    return put([...new Set([...job.tags, text])]);
  };
  return html`<form class="tag-row" onSubmit=${add}>
    ${job.tags.map((tag) => html`<span class="chip" key=${tag}><a href=${href("/jobs", { tag })}>${tag}</a><button type="button" class="bare" aria-label=${`Remove the tag ${tag}`} onClick=${() => put(job.tags.filter((one) => one !== tag))}><${Icon} name="close" /></button></span>`)}
    <input aria-label="Add a tag" placeholder="+ tag" maxlength="63" required value=${text} onInput=${(event) => setText(event.target.value)} />
  </form>`;
}

/** The figures of the registered weights: of the best epoch with the callback keep_best, otherwise of the last epoch. */
function Summary({ job }) {
  const { dataset } = job.spec;
  const best = job.metrics_best;
  const { epoch, epochs } = job.progress;
  const known = Object.entries(best?.metrics || job.metrics).filter(([name]) => !name.startsWith("train_"));
  // The places of the figures that the first epoch brings.
  const expected = job.kind === "train" && !ENDED.has(job.state) ? ["loss", ...(job.spec.metrics || []).map((one) => one.name || one)].map((name) => /** @type {[string, any]} */ ([`valid_${name}`, null])) : [];
  const metrics = known.length ? known : expected;
  const wait = (value) => value || (ENDED.has(job.state) ? null : "–");
  const label = (name) => `${formatMetricName(name)}${name.startsWith("test_") ? "" : best ? ` · epoch ${best.epoch}` : " · last"}`;
  return html`<${Facts}
    items=${[
      ...metrics.slice(0, 4).map(([name, value]) => [label(name), formatNumber(value)]),
      ["Duration", formatDuration(getDuration(job))],
      ["Model", wait(job.model && html`<a href=${href(`/models/${job.model.name}`, { version: job.model.version })}>${job.model.name}@${job.model.version}</a>`)],
      ["Dataset", dataset && html`<a href=${href(`/datasets/${dataset.name}`)}>${dataset.name}@${dataset.version}</a>`],
      ["Architecture", job.spec.architecture?.name ?? null],
      ["Weights", job.kind === "train" ? wait(job.model && epochs && (best ? `best epoch, ${best.epoch} of ${epoch}` : `last epoch, ${epoch}`)) : null],
      ["Created", html`<time datetime=${job.created_at} title=${formatTime(job.created_at)}>${formatAge(job.created_at)}</time>`],
    ]}
  />`;
}
