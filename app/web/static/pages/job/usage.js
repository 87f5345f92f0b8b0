// What a job uses: CPU, memory, GPU, the share of time in which it waits for samples, samples per second, and time per epoch.
import { html } from "../../lib/preact.js";
import { buildPath } from "../../lib/api.js";
import { COLORS } from "../../lib/colors.js";
import { ENDED } from "../../lib/jobs.js";
import { formatDuration, formatMetricName, formatNumber } from "../../lib/format.js";
import { useResource } from "../../lib/resource.js";
import { toCurve } from "../../lib/series.js";
import { Chart } from "../../components/chart.js";
import { Facts } from "../../components/controls.js";
import { readCurveSettings } from "../../components/curve_controls.js";
import { EmptyState, Loaded } from "../../components/feedback.js";
import { Charts, RESOURCE_CURVES } from "./curves.js";

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
