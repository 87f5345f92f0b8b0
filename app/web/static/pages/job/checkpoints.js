// The checkpoints of a job: download the weights, or predict with them.
import { html } from "../../lib/preact.js";
import { ENDED } from "../../lib/jobs.js";
import { formatAge, formatBytes, formatMetricName } from "../../lib/format.js";
import { useResource } from "../../lib/resource.js";
import { href } from "../../lib/router.js";
import { Table } from "../../components/controls.js";
import { EmptyState, Loaded } from "../../components/feedback.js";
import { Icon } from "../../components/icon.js";

export function CheckpointsTab({ job }) {
  const checkpoints = useResource(`v1/jobs/${job.id}/checkpoints`, { everyMs: ENDED.has(job.state) ? 0 : 5000 });
  return html`<${Loaded} resource=${checkpoints}>
    ${(value) => {
      const { items } = value;
      if (!items.length) return html`<${EmptyState} icon="download" title="No checkpoints"><p>A training job stores one after each epoch.</p><//>`;
      const names = [...new Set(items.flatMap((item) => Object.keys(item.metrics)))].filter((name) => !String(name).startsWith("train_"));
      const best = job.metrics_best?.epoch;
      return html`<${Table} label="Checkpoints" head=${["Checkpoint", "Epoch#", "Step#", ...names.map((name) => `${formatMetricName(String(name))}#`), "Size#", "Stored#", ""]}
        rows=${items.map((item) => [
          item.number,
          [
            html`${item.number} ${[...new Set([...item.tags, ...(item.epoch === best ? ["best"] : [])])].map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}`,
            item.epoch,
            item.step,
            ...names.map((name) => item.metrics[String(name)]),
            formatBytes(item.size_bytes),
            html`<span class="dim">${formatAge(item.created_at)}</span>`,
            html`<a class="button" href=${href("/predict", { job: job.id, checkpoint: item.number })}><${Icon} name="predict" /> Try it</a> <a class="button" href=${`v1/jobs/${job.id}/checkpoints/${item.number}/weights`} download><${Icon} name="download" /> Weights</a>`,
          ],
        ])} />`;
    }}
  <//>`;
}
