// Compares jobs: a chart per metric, the fields that differ, and the metrics side by side.
import { html, useEffect, useMemo, useRef, useState } from "../lib/preact.js";
import { buildPath } from "../lib/api.js";
import { getStroke } from "../lib/colors.js";
import { useEvents } from "../lib/events.js";
import { formatAge, formatCount, formatMetricName, formatNumber, formatPointer } from "../lib/format.js";
import { ENDED } from "../lib/jobs.js";
import { useThrottle } from "../lib/throttle.js";
import { useResource } from "../lib/resource.js";
import { changeQuery, href } from "../lib/router.js";
import { isLowerBetter } from "../lib/series.js";
import { Swatch } from "../components/chart.js";
import { Menu, PageHead, StateBadge, Table } from "../components/controls.js";
import { CurveControls, readCurveSettings } from "../components/curve_controls.js";
import { EmptyState, Loaded, ProblemNotice } from "../components/feedback.js";
import { Icon } from "../components/icon.js";
import { MetricChart } from "../components/metric_chart.js";
import { ParallelCoordinates, ScatterPlot } from "../components/relations.js";

const MAX_JOBS = 200;
const MAX_DIFFERENCES = 50;
const MAX_LEGEND = 8; // jobs

export default function ComparePage({ query }) {
  const ids = [...new Set(query.getAll("job"))].slice(0, MAX_JOBS);
  return html`
    <${PageHead} title=${ids.length ? `Compare ${formatCount(ids.length, "job")}` : "Compare"}>${ids.length > 0 && html`<${Menu} label="+ Add job"><${MoreJobs} ids=${ids} /><//>`}<//>
    ${ids.length === 0
      ? html`<${EmptyState} icon="compare" title="Choose jobs to compare"><p>Select jobs in the list, then choose “Compare”. The address of this page keeps the choice, so that you can share it.</p><p><a class="button primary" href=${href("/jobs")}>Go to the jobs</a></p><//>`
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
        <${Differences} value=${comparison.value} isFull=${query.get("all") === "1"} />
        <${MetricTable} jobs=${jobs} metrics=${comparison.value.metrics} />
        <${Relations} value=${comparison.value} metric=${query.get("metric")} />`}
    <//>
  `;
}

/** Recent jobs, to add to the comparison. */
function MoreJobs({ ids }) {
  const jobs = useResource("v1/jobs?kind=train&limit=50");
  return html`<${Loaded} resource=${jobs} lines=${3}>
    ${(page) => page.items.filter((job) => !ids.includes(job.id)).map((job) => html`<button type="button" key=${job.id} onClick=${() => changeQuery({ job: [...ids, job.id] })}><span class="grow clip">${job.name}</span> <span class="dim">${formatAge(job.created_at)}</span></button>`)}
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

function Differences({ value, isFull }) {
  const { jobs, environments } = value;
  const differences = value.differences.filter((field) => field.pointer !== "/name");
  const names = isFull ? [...new Set(Object.values(environments).flatMap((one) => Object.keys(one)))] : [];
  const row = (key, text, find) => html`<tr key=${key}><th scope="row" title=${key}>${text}</th>${jobs.map((job) => html`<td key=${job.id}>${formatField(find(job.id))}</td>`)}</tr>`;
  return html`<section>
    <header class="section-head"><h2>Fields that differ</h2><label class="switch"><input type="checkbox" checked=${isFull} onChange=${() => changeQuery({ all: isFull ? null : "1" })} /> Show the environment too</label></header>
    ${differences.length === 0 && !isFull
      ? html`<p class="dim">The specs are equal.</p>`
      : html`<${Table} label="Fields" head=${["Field", ...jobs.map((job) => job.name)]}>${differences.map((field) => row(field.pointer, formatPointer(field.pointer), (id) => field.values[id]))}${names.map((name) => row(name, name.replace(/_/g, " "), (id) => environments[id]?.[name]))}<//>`}
    ${value.num_differences > value.differences.length && html`<p class="dim">${value.num_differences} fields differ; ${differences.length} are shown.</p>`}
  </section>`;
}

/** @param {unknown} value */
function formatField(value) {
  if (value === undefined || value === null) return html`<span class="dim">–</span>`;
  return typeof value === "object" ? html`<code>${JSON.stringify(value)}</code>` : String(value);
}

/** The last and the best value of each metric; the best job of each row is marked. */
function MetricTable({ jobs, metrics }) {
  return html`<section>
    <h2>Metrics</h2>
    <${Table} label="Metrics" head=${["Metric", ...jobs.map((job) => `${job.name}#`)]}>
        ${Object.keys(metrics).sort().reverse().flatMap((name) =>
          ["last", "best"].map((kind) => {
            const values = jobs.map((job) => metrics[name][job.id]?.[kind] ?? null);
            const finite = values.filter((value) => value !== null);
            if (!finite.length) return null;
            const winner = isLowerBetter(name) ? Math.min(...finite) : Math.max(...finite);
            return html`<tr key=${`${name} ${kind}`}><th scope="row">${formatMetricName(name)} <span class="dim">${kind}</span></th>${values.map((value, index) => html`<td key=${jobs[index].id} class=${value === winner && finite.length > 1 ? "number winner" : "number"} title=${kind === "best" && metrics[name][jobs[index].id]?.best_epoch ? `epoch ${metrics[name][jobs[index].id].best_epoch}` : undefined}>${formatNumber(value)}</td>`)}</tr>`;
          }),
        )}
    <//>
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
  const rows = jobs.map((job, index) => ({ id: job.id, label: job.name, ...getStroke(index), values: [...fields.map((field) => field.values[job.id]), score(job)] }));
  return html`<section>
    <header class="section-head">
      <h2>What it depends on</h2>
      <label>Metric <select value=${chosen} onChange=${(event) => changeQuery({ metric: event.target.value })}>${names.map((name) => html`<option key=${name} value=${name}>${formatMetricName(name)}</option>`)}</select></label>
    </header>
    <${ParallelCoordinates} axes=${[...fields.slice(0, 8).map((field) => formatPointer(field.pointer).split(" › ").pop() || ""), formatMetricName(chosen)]} rows=${rows.map((row) => ({ ...row, values: [...row.values.slice(0, -1).slice(0, 8), row.values[row.values.length - 1]] }))} />
    <div class="charts">
      ${fields.filter((field) => jobs.every((job) => typeof field.values[job.id] === "number")).slice(0, 6).map((field) => html`<${ScatterPlot} key=${field.pointer} xLabel=${formatPointer(field.pointer)} yLabel=${`${formatMetricName(chosen)}, best,`} points=${jobs.map((job, index) => ({ id: job.id, label: job.name, color: getStroke(index).color, x: field.values[job.id], y: score(job) }))} />`)}
    </div>
  </section>`;
}

/** @param {unknown} value */
function isPlain(value) {
  return typeof value === "number" || typeof value === "string" || typeof value === "boolean";
}
