// Compares jobs: a chart per metric, the fields that differ, and the metrics side by side.
import { html, useEffect, useMemo, useRef, useState } from "../lib/preact.js";
import { buildPath } from "../lib/api.js";
import { getStroke } from "../lib/colors.js";
import { useEvents } from "../lib/events.js";
import { formatAge, formatCount, formatMetricName, formatPointer, formatValue } from "../lib/format.js";
import { ENDED } from "../lib/jobs.js";
import { useResource, useThrottle } from "../lib/resource.js";
import { changeQuery, href } from "../lib/router.js";
import { isLowerBetter } from "../lib/series.js";
import { CurveControls, MetricChart, readCurveSettings, Swatch } from "../components/chart.js";
import { ComparisonTable, ParallelCoordinates, ScatterPlot } from "../components/comparison.js";
import { Menu, PageHead, StateBadge } from "../components/controls.js";
import { Loaded, ProblemNotice } from "../components/feedback.js";
import { Icon } from "../components/icon.js";

const MAX_JOBS = 200;
const MAX_DIFFERENCES = 50;
const MAX_AXES = 8; // of fields
const MAX_LEGEND = 8; // jobs

export default function ComparePage({ query }) {
  const ids = [...new Set(query.getAll("job"))].slice(0, MAX_JOBS);
  const isReady = ids.length > 1;
  return html`
    <${PageHead} title=${isReady ? `Compare ${formatCount(ids.length, "job")}` : "Compare"}>${isReady && html`<${Menu} label="+ Add job"><${MoreJobs} ids=${ids} /><//>`}<//>
    ${!isReady
      ? html`<p class="dim">Choose ${ids.length ? html`jobs to compare with <${JobName} id=${ids[0]} />` : "two or more of the last jobs"}, or select jobs in <a href=${href("/jobs")}>the list</a>. The address of this page keeps the choice, so that you can share it.</p><section class="card narrow stack"><${MoreJobs} ids=${ids} /></section>`
      : html`<${Comparison} ids=${ids} query=${query} />`}
  `;
}

function Comparison({ ids, query }) {
  const settings = readCurveSettings(query);
  const comparison = useResource(buildPath("v1/jobs/compare", { job: ids.slice(0, MAX_DIFFERENCES) }), { everyMs: 5000 });
  const [focus, setFocus] = useState(/** @type {string | null} */ (null));
  const jobs = comparison.value?.jobs || [];
  const labels = useMemo(() => new Map(jobs.map((job) => [job.id, job.name])), [comparison.value]);
  const active = jobs.filter((job) => !ENDED.has(job.state)).map((job) => job.id);
  const curves = useMemo(() => listCurves(Object.keys(comparison.value?.metrics || {})), [comparison.value]);
  return html`
    ${comparison.problem && html`<${ProblemNotice} problem=${comparison.problem} onRetry=${comparison.refresh} />`}
    <${RunList} ids=${ids} jobs=${jobs} focus=${focus} onFocus=${setFocus} />
    <${CurveControls} settings=${settings} />
    <${Loaded} resource=${comparison}>
      ${() => html`<div class="charts">${curves.map(([split, name]) => html`<${CompareChart} key=${`${split}_${name}`} ids=${ids} active=${active} labels=${labels} split=${split} name=${name} settings=${settings} focus=${focus} onFocus=${setFocus} />`)}</div>
        <${Differences} value=${comparison.value} ids=${ids} isFull=${query.get("all") === "1"} />
        <${Relations} value=${comparison.value} metric=${query.get("metric")} />`}
    <//>
  `;
}

function JobName({ id }) {
  return html`<b>${useResource(`v1/jobs/${id}`).value?.name || id.slice(0, 8)}</b>`;
}

/** Recent jobs, to add to the comparison. */
function MoreJobs({ ids }) {
  const jobs = useResource("v1/jobs?kind=train&limit=50");
  const [chosen, setChosen] = useState(/** @type {string[]} */ ([]));
  const toggle = (id) => setChosen(chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id]);
  const verb = ids.length > 1 ? "Add" : "Compare";
  const isEnough = ids.length + chosen.length > 1 && chosen.length > 0;
  return html`<${Loaded} resource=${jobs} lines=${3}>
    ${(page) => html`
      <div class="choices">${page.items.filter((job) => !ids.includes(job.id)).map((job) => html`<label class="row" key=${job.id}><span class="grow clip"><input type="checkbox" checked=${chosen.includes(job.id)} onChange=${() => toggle(job.id)} /> ${job.name}</span> <span class="dim nowrap">${formatAge(job.created_at)}</span></label>`)}</div>
      <button type="button" class="primary" disabled=${!isEnough} onClick=${() => (changeQuery({ job: [...ids, ...chosen] }), setChosen([]))}>${isEnough ? `${verb} ${formatCount(chosen.length + (ids.length === 1 ? 1 : 0), "job")}` : verb}</button>`}
  <//>`;
}

/** The curves of a comparison: [split, name], validation first. @param {string[]} keys @returns {[string, string][]} */
function listCurves(keys) {
  const order = ["valid", "train"];
  return keys
    .map((key) => /** @type {[string, string]} */ ([key.split("_")[0], key.slice(key.indexOf("_") + 1)]))
    .filter(([split]) => split === "valid" || split === "train")
    .sort((a, b) => order.indexOf(a[0]) - order.indexOf(b[0]) || a[1].localeCompare(b[1]));
}

function RunList({ ids, jobs, focus, onFocus }) {
  const [isLong, setLong] = useState(false);
  const shown = isLong ? ids : ids.slice(0, 12);
  return html`<ul class="runs">
    ${shown.map((id) => {
      const job = jobs.find((other) => other.id === id);
      return html`<li key=${id} class=${focus && focus !== id ? "faded" : ""} onPointerEnter=${() => onFocus(id)} onPointerLeave=${() => onFocus(null)}>
        <${Swatch} ...${getStroke(ids.indexOf(id))} /><a href=${href(`/jobs/${id}`)} onFocus=${() => onFocus(id)} onBlur=${() => onFocus(null)}>${job?.name || id.slice(0, 8)}</a>
        ${job && job.state !== "succeeded" && html`<${StateBadge} state=${job.state} />`}
        <button type="button" class="bare" aria-label=${`Remove ${job?.name || id}`} onClick=${() => changeQuery({ job: ids.filter((other) => other !== id) })}><${Icon} name="close" /></button>
      </li>`;
    })}
    ${ids.length > 12 && html`<li><button type="button" class="bare" onClick=${() => setLong(!isLong)}>${isLong ? "Show fewer" : `Show all ${ids.length}`}</button></li>`}
  </ul>`;
}

function CompareChart({ ids, active, labels, split, name, settings, focus, onFocus }) {
  const [element, isVisible] = useVisibility();
  const path = buildPath("v1/metrics", { job: ids, name, split, x: settings.x, buckets: 500, from: settings.from, to: settings.to });
  const grid = useResource(isVisible ? path : null);
  const refresh = useThrottle(grid.refresh);
  useEvents(isVisible ? active : [], (event) => {
    if (event.type !== "log") refresh();
  });
  const sources = useMemo(
    () => (grid.value?.series || []).map((series) => ({ key: series.job, label: labels.get(series.job) || series.job.slice(0, 8), ...getStroke(ids.indexOf(series.job)), x: grid.value.x, series })),
    [grid.value, labels],
  );
  return html`<div ref=${element} class="chart-place">
    ${grid.problem && html`<${ProblemNotice} problem=${grid.problem} onRetry=${grid.refresh} />`}
    <${MetricChart} title=${`${split} ${formatMetricName(name)}`} settings=${settings} sources=${sources} focus=${focus} onFocus=${onFocus} hasLegend=${ids.length <= MAX_LEGEND} />
  </div>`;
}

/** Load a chart when it comes near the visible part of the page. @returns {[any, boolean]} */
function useVisibility() {
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  const [isVisible, setVisible] = useState(false);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && setVisible(true), { rootMargin: "300px" });
    if (element.current) observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return [element, isVisible];
}

/** The fields that differ, and below them the last and the best value of each metric. */
function Differences({ value, ids, isFull }) {
  const { jobs, environments, metrics } = value;
  const of = (find) => jobs.map((job) => find(job.id) ?? null);
  const fields = value.differences
    .map((field) => ({ key: field.pointer, title: formatPointer(field.pointer), values: of((id) => field.values[id]) }))
    .filter((row) => row.key !== "/name" && new Set(row.values.map(formatValue)).size > 1);
  const names = isFull ? [...new Set(Object.values(environments).flatMap((one) => Object.keys(one)))] : [];
  const environment = names.map((name) => ({ key: name, title: name.replace(/_/g, " "), values: of((id) => environments[id]?.[name]) }));
  const figures = Object.keys(metrics).sort().reverse().flatMap((name) => {
    const [last, best] = ["last", "best"].map((kind) => of((id) => metrics[name][id]?.[kind]));
    const row = (values, kind) => ({ key: `${name} ${kind}`, title: html`${formatMetricName(name)} <span class="dim">${kind}</span>`, values, better: isLowerBetter(name) ? -1 : 1, notes: of((id) => kind !== "last" && metrics[name][id]?.best_epoch && `epoch ${metrics[name][id].best_epoch}`).map((note) => note || undefined) });
    if (String(last) === String(best) || best.every((one) => one === null)) return [row(last, best[0] === null ? "last" : "last and best")];
    return [row(last, "last"), row(best, "best")];
  });
  return html`<section>
    <header class="section-head"><h2>Fields that differ, and metrics</h2><label class="switch"><input type="checkbox" checked=${isFull} onChange=${() => changeQuery({ all: isFull ? null : "1" })} /> Show the environment too</label></header>
    <${ComparisonTable} label="Fields and metrics" first="Field" names=${jobs.map((job) => html`<${Swatch} ...${getStroke(ids.indexOf(job.id))} />${job.name}`)} rows=${[...fields, ...environment, ...figures]} />
    ${fields.length === 0 && html`<p class="dim">The specs are equal.</p>`}
    ${value.num_differences > value.differences.length && html`<p class="dim">${value.num_differences} fields differ; ${value.differences.length} are shown.</p>`}
  </section>`;
}

/** How a metric depends on the numbers that differ. */
function Relations({ value, metric }) {
  const { jobs, metrics } = value;
  const names = Object.keys(metrics).sort();
  const chosen = metric && names.includes(metric) ? metric : names.find((name) => name.startsWith("valid_")) || names[0];
  const fields = value.differences.filter((field) => jobs.some((job) => isPlain(field.values[job.id])) && field.pointer !== "/name" && field.pointer !== "/seed");
  if (!chosen || !fields.length || jobs.length < 2) return null;
  const score = (job) => metrics[chosen][job.id]?.best ?? metrics[chosen][job.id]?.last;
  return html`<section>
    <header class="section-head">
      <h2>What it depends on</h2>
      <label>Metric <select value=${chosen} onChange=${(event) => changeQuery({ metric: event.target.value })}>${names.map((name) => html`<option key=${name} value=${name}>${formatMetricName(name)}</option>`)}</select></label>
    </header>
    <div class="charts">
      <${ParallelCoordinates} axes=${[...fields.slice(0, MAX_AXES).map((field) => ({ name: formatPointer(field.pointer).split(" › ").pop() || "" })), { name: formatMetricName(chosen) }]} rows=${jobs.map((job, index) => ({ id: job.id, label: job.name, ...getStroke(index), values: [...fields.slice(0, MAX_AXES).map((field) => field.values[job.id]), score(job)] }))} />
      ${fields.filter((field) => jobs.every((job) => typeof field.values[job.id] === "number")).slice(0, 6).map((field) => html`<${ScatterPlot} key=${field.pointer} xLabel=${formatPointer(field.pointer)} yLabel=${`${formatMetricName(chosen)}, best,`} points=${jobs.map((job, index) => ({ id: job.id, label: job.name, color: getStroke(index).color, x: field.values[job.id], y: score(job) }))} />`)}
    </div>
  </section>`;
}

/** @param {unknown} value */
function isPlain(value) {
  return typeof value === "number" || typeof value === "string" || typeof value === "boolean";
}
