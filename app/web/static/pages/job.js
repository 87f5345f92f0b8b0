// One job: its state, actions and tabs.
import { html, useEffect, useState } from "../lib/preact.js";
import { request } from "../lib/api.js";
import { useEvents } from "../lib/events.js";
import { formatAge, formatDuration, formatNumber, formatTime } from "../lib/format.js";
import { ACTIVE, ENDED, getDuration, listActions, runAction } from "../lib/jobs.js";
import { useResource } from "../lib/resource.js";
import { href, navigate } from "../lib/router.js";
import { useThrottle } from "../lib/throttle.js";
import { Dialog, Facts, JobProgress, StateBadge, Tabs } from "../components/controls.js";
import { attempt, Lazy, Loaded, showToast } from "../components/feedback.js";
import { Icon } from "../components/icon.js";
import { CheckpointsTab } from "./job/checkpoints.js";
import { CurvesTab } from "./job/curves.js";
import { EvaluationTab } from "./job/evaluation.js";
import { HistoryTab } from "./job/history.js";
import { LogTab } from "./job/log.js";
import { UsageTab } from "./job/usage.js";

const TABS = /** @type {[string, string][]} */ ([
  ["curves", "Curves"],
  ["log", "Log"],
  ["checkpoints", "Checkpoints"],
  ["evaluation", "Evaluation"],
  ["usage", "System"],
  ["spec", "Spec"],
  ["history", "History"],
]);

/** The tab that shows YAML is loaded when it opens: js-yaml is larger than all other tabs. */
const loadSpec = () => import("./job/spec.js").then((module) => module.SpecTab);

/** @param {{name: string, query: URLSearchParams}} properties */
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
    return job.replace({ ...job.value, ...changes, progress: { ...job.value.progress, ...progress } });
  });
  useEffect(() => {
    document.title = `${job.value?.name || "Job"} · Candela`;
  }, [job.value?.name]);
  return html`<${Loaded} resource=${job}>${(value) => html`<${JobView} job=${value} query=${query} onChange=${job.replace} />`}<//>`;
}

/** @param {{job: any, query: URLSearchParams, onChange: (job: any) => void}} properties */
function JobView({ job, query, onChange }) {
  const tab = query.get("tab") || "curves";
  const act = (action) => attempt(async () => onChange({ ...job, ...(await runAction(job.id, action)) }));
  return html`
    <header class="page-head">
      <div>
        <p class="crumbs"><a href=${href("/jobs")}>Jobs</a> / <code>${job.id.slice(0, 8)}</code></p>
        <h1>${job.name} <${StateBadge} state=${job.state} /></h1>
      </div>
      <div class="actions">
        ${listActions(job).map(([action, icon, text]) => html`<button key=${action} type="button" onClick=${() => act(action)}><${Icon} name=${icon} /> ${text}</button>`)}
        <a class="button" href=${href("/new", { from: job.id })}><${Icon} name="copy" /> Change and run again</a>
        ${job.kind === "train" && html`<a class="button" href=${href("/compare", { job: [job.id] })}><${Icon} name="compare" /> Compare</a>`}
        ${ENDED.has(job.state) && html`<${DeleteButton} job=${job} />`}
      </div>
    </header>
    <${Banner} job=${job} />
    <div class="summary">
      ${ACTIVE.has(job.state) && html`<${JobProgress} progress=${job.progress} state=${job.state} />`}
      <${Summary} job=${job} />
    </div>
    <${Tabs} name="tab" chosen=${tab} tabs=${TABS} label="Views of the job" />
    <div id="tab-panel" role="tabpanel" aria-labelledby=${`tab-${tab}`} tabindex="-1" key=${tab}>${renderTab(tab, job, query)}</div>
  `;
}

/** @param {string} tab @param {any} job @param {URLSearchParams} query */
function renderTab(tab, job, query) {
  if (tab === "log") return html`<${LogTab} job=${job} />`;
  if (tab === "checkpoints") return html`<${CheckpointsTab} job=${job} />`;
  if (tab === "evaluation") return html`<${EvaluationTab} job=${job} query=${query} />`;
  if (tab === "usage") return html`<${UsageTab} job=${job} />`;
  if (tab === "spec") return html`<${Lazy} load=${loadSpec} job=${job} />`;
  if (tab === "history") return html`<${HistoryTab} job=${job} />`;
  return html`<${CurvesTab} job=${job} query=${query} />`;
}

/** Why the job waits, why it failed, and what to watch out for. @param {{job: any}} properties */
function Banner({ job }) {
  const { failure } = job;
  return html`
    ${failure &&
    html`<div class="notice notice-bad" role="alert">
      <${Icon} name="warning" />
      <div class="grow"><strong>${failure.message}</strong><p>${failure.hint}</p></div>
      <a class="button" href=${href("/new", { from: job.id })}>Change and run again</a>
    </div>`}
    ${job.state === "queued" &&
    html`<div class="notice" role="status">
      <${Icon} name="pause" />
      <div>${job.waits_for ? html`Waits for the import of <a href=${href(`/datasets/${job.waits_for.name}`)}>${job.waits_for.name}@${job.waits_for.version}</a>.` : job.queue_reason || `Queued: ${job.queue_position ?? 0} jobs are claimed before this one.`}</div>
    </div>`}
    ${(job.warnings || []).map((text) => html`<div class="notice notice-warn" key=${text}><${Icon} name="warning" /><div>${text}</div></div>`)}
  `;
}

/** @param {{job: any}} properties */
function Summary({ job }) {
  const { dataset } = job.spec;
  const best = job.metrics_best;
  const metrics = Object.entries(best?.metrics || job.metrics).filter(([name]) => !name.startsWith("train_"));
  return html`<${Facts}
    items=${[
      ["Dataset", dataset && html`<a href=${href(`/datasets/${dataset.name}`)}>${dataset.name}@${dataset.version}</a>`],
      ["Architecture", job.spec.architecture?.name ?? null],
      ["Model", job.model && html`<a href=${href(`/models/${job.model.name}`, { version: job.model.version })}>${job.model.name}@${job.model.version}</a>`],
      ...metrics.slice(0, 4).map(([name, value]) => [name.replace(/_/g, " "), formatNumber(value)]),
      ["Best epoch", best?.epoch ?? null],
      ["Duration", formatDuration(getDuration(job))],
      ["Created", html`<time datetime=${job.created_at} title=${formatTime(job.created_at)}>${formatAge(job.created_at)}</time>`],
      ["Stopped", job.stop_reason],
    ]}
  />`;
}

/** @param {{job: any}} properties */
function DeleteButton({ job }) {
  const [isOpen, setOpen] = useState(false);
  const remove = () =>
    attempt(async () => {
      await request(`v1/jobs/${job.id}`, { method: "DELETE" });
      showToast(`Deleted ${job.name}`);
      navigate(href("/jobs"));
    });
  return html`
    <button type="button" onClick=${() => setOpen(true)}><${Icon} name="trash" /> Delete</button>
    ${isOpen &&
    html`<${Dialog} title=${`Delete ${job.name}?`} onClose=${() => setOpen(false)}>
      <p>Its metrics, log, checkpoints and artifacts are deleted for good. The model version it registered remains.</p>
      <footer><button type="button" onClick=${() => setOpen(false)}>Keep it</button><button type="button" class="danger" onClick=${remove}>Delete</button></footer>
    <//>`}
  `;
}
