// Live curves of a job: of its metrics, and of its use of the machine.
import { html, useMemo, useRef } from "../../lib/preact.js";
import { buildPath } from "../../lib/api.js";
import { COLORS, getStroke } from "../../lib/colors.js";
import { useEvents } from "../../lib/events.js";
import { formatDuration, formatMetricName, formatNumber } from "../../lib/format.js";
import { ENDED } from "../../lib/jobs.js";
import { useResource, useThrottle } from "../../lib/resource.js";
import { toCurve } from "../../lib/series.js";
import { Chart, CurveControls, MetricChart, readCurveSettings } from "../../components/chart.js";
import { Facts } from "../../components/controls.js";
import { EmptyState, Loaded } from "../../components/feedback.js";

/** Figures of the machine, which the tab of resources shows. */
const RESOURCES = ["seconds", "epoch_seconds", "peak_memory_mib", "data_wait", "images_per_s"];
/** The curves of the tab of resources; the others are measured more often by the sampling of the usage. */
const RESOURCE_CURVES = RESOURCES.slice(0, 3);
const MAX_CURVES = 64; // of a request
const SPLITS = ["train", "valid", "test"];

export function CurvesTab({ job, query }) {
  const settings = readCurveSettings(query);
  // The names of the series: few points per series are enough.
  const series = useResource(buildPath(`v1/jobs/${job.id}/metrics`, { max_points: 4 }), { everyMs: ENDED.has(job.state) ? 0 : 5000 });
  return html`<${Loaded} resource=${series}>
    ${(value) =>
      value.series.length === 0 && (job.kind !== "train" || ENDED.has(job.state))
        ? html`<${EmptyState} icon="compare" title=${job.kind === "train" ? "No metrics" : "This kind of job has no curves"}><p>${job.kind === "train" ? "The job ended before its first step." : "See the evaluation and the history."}</p><//>`
        : html`<${CurveControls} settings=${settings} /><div class="charts"><${Charts} job=${job} series=${value.series.filter((one) => !RESOURCES.includes(one.name))} settings=${settings} /></div>`}
  <//>`;
}

export function Charts({ job, series, settings, height = 240, isTraining = true }) {
  const names = useMemo(() => {
    const splits = /** @type {Map<string, string[]>} */ (new Map());
    for (const { name, split } of series) splits.set(name, [...(splits.get(name) || []), split]);
    // Until the first epoch ends, empty frames keep the places of its curves.
    if (isTraining && !splits.has("loss") && job.kind === "train") for (const name of ["loss", ...(job.spec.metrics || []).map((metric) => metric.name || metric), "step_loss", "lr"]) if (!splits.has(name)) splits.set(name, []);
    // The loss first, then the metrics, then the loss of each step and the learning rate.
    const rank = (name) => (name === "loss" ? -2 : ["step_loss", "lr", ...RESOURCES].indexOf(name));
    return [...splits].sort(([a], [b]) => rank(a) - rank(b) || a.localeCompare(b));
  }, [series]);
  const grid = useCurves(job, names, settings);
  return html`${names.map(
      ([name]) => html`<${MetricChart}
        key=${name}
        title=${formatMetricName(name)}
        emptyText=${grid ? "Drawn when the first epoch ends" : ""}
        settings=${settings}
        height=${height}
        sources=${(grid?.series || []).filter((one) => one.name === name).map((one) => ({ key: one.split, label: one.split, ...getStroke(Math.max(SPLITS.indexOf(one.split), 0)), x: grid.x, series: one }))}
      />`,
    )}`;
}

/**
 * Load all curves of a job with one request, again after its events. While the next part of the axis loads, the last
 * response remains.
 * @param {any} job
 * @param {[string, string[]][]} names
 * @param {any} settings
 */
function useCurves(job, names, settings) {
  const curves = names.flatMap(([name, splits]) => splits.map((split) => `${split}/${name}`)).slice(0, MAX_CURVES);
  const grid = useResource(buildPath("v1/metrics", { job: job.id, curve: curves, x: settings.x, buckets: 500, from: settings.from, to: settings.to }));
  const refresh = useThrottle(grid.refresh);
  useEvents(ENDED.has(job.state) ? [] : [job.id], (event) => {
    if (["epoch", "progress", "metrics", "state", "end"].includes(event.type)) refresh();
  });
  const last = useRef(grid.value);
  if (grid.value) last.current = grid.value;
  return last.current;
}

const MIN_POINTS = 3; // of a curve

export function UsageTab({ job }) {
  const options = { everyMs: ENDED.has(job.state) ? 0 : 5000 };
  const usage = useResource(`v1/jobs/${job.id}/usage`, options);
  const metrics = useResource(buildPath(`v1/jobs/${job.id}/metrics`, { max_points: 4 }), options);
  return html`<${Loaded} resource=${usage}>
    ${(value) => {
      const measured = value.series.filter((one) => one.points.length > 0);
      if (!measured.length) return html`<${EmptyState} icon="system" title="Nothing measured yet"><p>The trainer reports its use of the machine while it runs.</p><//>`;
      const series = measured.map(({ name, unit, points }) => ({ name, isShare: unit === "percent" || unit === "share", x: points.map((point) => point.seconds ?? point.step), values: toCurve(points.map((point) => (unit === "share" && typeof point.value === "number" ? 100 * point.value : point.value))) }));
      const isShort = series.every((one) => one.x.length < MIN_POINTS);
      const epochs = (metrics.value?.series || []).filter((one) => RESOURCE_CURVES.includes(one.name));
      return isShort
        ? html`<p class="dim">The job was too short for curves: the trainer measures every few seconds. The last values:</p>
            <div class="card"><${Facts} items=${[...series.map((one) => [formatMetricName(one.name), one.values.at(-1)]), ...epochs.map((one) => [`${one.name === "seconds" ? `${one.split}: ` : ""}${formatMetricName(one.name)}`, one.points.at(-1)?.value])].map(([name, figure]) => [name, formatNumber(figure)])} /></div>`
        : html`<div class="charts">
            ${series.map((one, index) => html`<${Chart} key=${one.name} title=${formatMetricName(one.name)} x=${one.x} lines=${[{ key: one.name, label: "", color: COLORS[index % COLORS.length], values: one.values }]} xLabel="training time" formatX=${formatDuration} height=${160} softMax=${one.isShare ? 100 : undefined} />`)}
            <${Charts} job=${job} series=${epochs} settings=${{ ...readCurveSettings(new URLSearchParams()), x: "epoch" }} height=${160} isTraining=${false} />
          </div>`;
    }}
  <//>`;
}
