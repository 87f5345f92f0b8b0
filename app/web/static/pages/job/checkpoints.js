// The checkpoints of a job: download the weights, or predict with them.
import { html } from "../../lib/preact.js";
import { ENDED } from "../../lib/jobs.js";
import { formatAge, formatBytes, formatMetricName, formatNumber } from "../../lib/format.js";
import { useResource } from "../../lib/resource.js";
import { href } from "../../lib/router.js";
import { EmptyState, Loaded } from "../../components/feedback.js";
import { Icon } from "../../components/icon.js";

/** @param {{job: any}} properties */
export function CheckpointsTab({ job }) {
  const checkpoints = useResource(`v1/jobs/${job.id}/checkpoints`, { everyMs: ENDED.has(job.state) ? 0 : 5000 });
  return html`<${Loaded} resource=${checkpoints}>
    ${(value) => {
      const { items } = value;
      if (!items.length) return html`<${EmptyState} icon="download" title="No checkpoints"><p>A training job stores one after each epoch.</p><//>`;
      return html`<div class="table-box" tabindex="0" role="region" aria-label="Table"><table>
        <thead><tr><th scope="col">Number</th><th scope="col">Epoch</th><th scope="col" class="number">Step</th><th scope="col">Tags</th><th scope="col">Metrics</th><th scope="col" class="number">Size</th><th scope="col">Stored</th><th scope="col"><span class="sr-only">Actions</span></th></tr></thead>
        <tbody>
          ${items.map(
            (item) => html`<tr key=${item.number}>
              <th scope="row">${item.number}</th><td>${item.epoch}</td><td class="number">${formatNumber(item.step)}</td>
              <td>${item.tags.map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}</td>
              <td>${Object.entries(item.metrics).filter(([name]) => !name.startsWith("train_")).map(([name, value]) => html`<span class="metric" key=${name}>${formatMetricName(name)} <b>${formatNumber(value)}</b></span>`)}</td><td class="number">${formatBytes(item.size_bytes)}</td><td class="dim">${formatAge(item.created_at)}</td>
              <td class="actions"><a class="button" href=${href("/predict", { job: job.id, checkpoint: item.number })}><${Icon} name="predict" /> Try it</a><a class="button" href=${`v1/jobs/${job.id}/checkpoints/${item.number}/weights`} download><${Icon} name="download" /> Weights</a></td>
            </tr>`,
          )}
        </tbody>
      </table></div>`;
    }}
  <//>`;
}
