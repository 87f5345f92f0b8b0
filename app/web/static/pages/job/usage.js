// What a job uses: CPU, memory, GPU, the share of time in which it waits for samples, and samples per second.
import { html } from "../../lib/preact.js";
import { ENDED } from "../../lib/jobs.js";
import { formatDuration, formatMetricName } from "../../lib/format.js";
import { useResource } from "../../lib/resource.js";
import { toCurve } from "../../lib/series.js";
import { Chart } from "../../components/chart.js";
import { EmptyState, Loaded } from "../../components/feedback.js";
import { COLORS } from "../../lib/colors.js";

export function UsageTab({ job }) {
  const usage = useResource(`v1/jobs/${job.id}/usage`, { everyMs: ENDED.has(job.state) ? 0 : 3000 });
  return html`<${Loaded} resource=${usage}>
    ${(value) => {
      const series = (value.series || []).filter((one) => one.points.length > 0);
      if (!series.length) return html`<${EmptyState} icon="system" title="Nothing measured yet"><p>The trainer reports its use of the machine while it runs.</p><//>`;
      return html`<div class="charts">${series.map((one, index) => html`<${UsageChart} key=${one.name} series=${one} color=${COLORS[index % COLORS.length]} />`)}</div>`;
    }}
  <//>`;
}

function UsageChart({ series, color }) {
  const x = series.points.map((point) => point.seconds ?? point.step);
  const values = toCurve(series.points.map((point) => point.value));
  return html`<${Chart} title=${["images_per_s", "data_wait"].includes(series.name) ? formatMetricName(series.name) : `${formatMetricName(series.name.replace(/_(percent|mib|share)$/, ""))}, ${series.unit}`} x=${x} lines=${[{ key: series.name, label: series.unit, color, values }]} xLabel="training time" formatX=${formatDuration} height=${160} />`;
}
