// Live curves of a job: one chart per metric, with training and validation in it.
import { html, useMemo } from "../../lib/preact.js";
import { buildPath } from "../../lib/api.js";
import { useEvents } from "../../lib/events.js";
import { formatMetricName } from "../../lib/format.js";
import { ENDED } from "../../lib/jobs.js";
import { useThrottle } from "../../lib/throttle.js";
import { useResource } from "../../lib/resource.js";
import { EmptyState, Loaded } from "../../components/feedback.js";
import { CurveControls, readCurveSettings } from "../../components/curve_controls.js";
import { MetricChart } from "../../components/metric_chart.js";

const OF_THE_TRAINING = new Set(["seconds", "epoch_seconds", "data_wait", "images_per_s", "peak_memory_mib"]);
const SPLITS = /** @type {Record<string, string>} */ ({ train: "#0072b2", valid: "#d55e00", test: "#009e73" });

/** @param {{job: any, query: URLSearchParams}} properties */
export function CurvesTab({ job, query }) {
  const settings = readCurveSettings(query);
  // The names of the series: few points per series are enough.
  const series = useResource(buildPath(`v1/jobs/${job.id}/metrics`, { max_points: 4 }), { everyMs: ENDED.has(job.state) ? 0 : 5000 });
  return html`<${Loaded} resource=${series}>
    ${(value) =>
      value.series.length === 0
        ? html`<${EmptyState} icon="compare" title=${job.kind === "train" ? "No metrics yet" : "This kind of job has no curves"}><p>${job.kind === "train" ? "Curves appear with the first step of the training." : "See the evaluation and the history."}</p><//>`
        : html`<${CurveControls} settings=${settings} /><${Charts} job=${job} series=${value.series} settings=${settings} />`}
  <//>`;
}

/** @param {{job: any, series: any[], settings: any}} properties */
function Charts({ job, series, settings }) {
  const names = useMemo(() => {
    const splits = /** @type {Map<string, string[]>} */ (new Map());
    for (const { name, split } of series) splits.set(name, [...(splits.get(name) || []), split]);
    // The loss first, then what is computed for several splits, then figures of the training itself, such as its speed.
    const rank = (name, found) => (name === "loss" ? 0 : OF_THE_TRAINING.has(name) ? 3 : found.length > 1 ? 1 : 2);
    return [...splits].sort((a, b) => rank(...a) - rank(...b) || a[0].localeCompare(b[0]));
  }, [series]);
  return html`<div class="charts">
    ${names.map(([name, splits]) => html`<${SplitChart} key=${name} job=${job} name=${name} splits=${splits} settings=${settings} />`)}
  </div>`;
}

/** @param {{job: any, name: string, splits: string[], settings: any}} properties */
function SplitChart({ job, name, splits, settings }) {
  const grids = ["train", "valid", "test"].map((split) => useResource(splits.includes(split) ? buildPath("v1/metrics", { job: job.id, name, split, x: settings.x, buckets: 500, from: settings.from, to: settings.to }) : null));
  const refresh = useThrottle(() => grids.forEach((grid) => grid.refresh()));
  useEvents(ENDED.has(job.state) ? [] : [job.id], (event) => {
    if (["epoch", "progress", "metrics", "state", "end"].includes(event.type)) refresh();
  });
  return html`<${MetricChart}
    title=${formatMetricName(name)}
    settings=${settings}
    sources=${["train", "valid", "test"].flatMap((split, index) => {
      const curve = grids[index].value;
      return curve?.series[0] ? [{ key: split, label: split, color: SPLITS[split], x: curve.x, series: curve.series[0] }] : [];
    })}
  />`;
}
