// What happened to a job: changes of its state, its environment, its lineage and its files.
import { html } from "../../lib/preact.js";
import { formatBytes, formatCount, formatDuration, formatTime, formatValue } from "../../lib/format.js";
import { useResource } from "../../lib/resource.js";
import { href } from "../../lib/router.js";
import { Facts, StateBadge, Table } from "../../components/controls.js";
import { Loaded } from "../../components/feedback.js";
import { Icon } from "../../components/icon.js";

export function HistoryTab({ job }) {
  const artifacts = useResource(`v1/jobs/${job.id}/artifacts`);
  const { dataset } = job.spec;
  return html`
    <div class="evaluation">
      <div class="stack"><section class="card">
        <h2>States</h2>
        <ol class="timeline">
          ${job.transitions.map(
            (change, index, all) => html`<li key=${index}><${StateBadge} state=${change.to} /><span>${change.reason.replace(/_/g, " ")}</span><span class="dim number">${all[index + 1] ? formatDuration((Date.parse(all[index + 1].at) - Date.parse(change.at)) / 1000) : ""}</span><time class="dim number" datetime=${change.at}>${formatTime(change.at)}</time></li>`,
          )}
        </ol>
        <p class="dim after">${formatCount(job.attempt, "attempt")}</p>
        ${job.failure && html`<h3>Failure</h3><${Facts} items=${[["Code", job.failure.code], ["Kind", job.failure.kind], ...Object.entries(job.failure.facts).map(([name, value]) => /** @type {[string, any]} */ ([name.replace(/_/g, " "), formatValue(value)]))]} />`}
      </section>
      <section class="card">
        <h2>Files</h2>
        <${Loaded} resource=${artifacts} lines=${3}>
          ${(value) => {
            const { items } = value;
            return items.length
              ? html`<${Table} class="dense" label="Files" head=${["Name", "Size#"]} rows=${items.map((file) => [file.name, [html`<a href=${`v1/jobs/${job.id}/artifacts/${encodeURIComponent(file.name)}`} download><${Icon} name="download" /> ${file.name}</a>`, formatBytes(file.size_bytes)]])} />`
              : html`<p class="dim">This job has written no files.</p>`;
          }}
        <//>
      </section>
      </div>
      <div class="stack"><section class="card">
        <h2>Lineage</h2>
        <ol class="lineage">
          ${dataset && html`<li><${Icon} name="datasets" /> <a href=${href(`/datasets/${dataset.name}`, { version: dataset.version })}>${dataset.name}@${dataset.version}</a></li>`}
          ${job.parent_id && html`<li><${Icon} name="jobs" /> cloned from <a href=${href(`/jobs/${job.parent_id}`)}>${job.parent_id.slice(0, 8)}</a></li>`}
          ${job.spec.init_from && html`<li><${Icon} name="models" /> starts from ${job.spec.init_from}</li>`}
          <li><${Icon} name="jobs" /> <strong>${job.name}</strong></li>
          ${job.model && html`<li><${Icon} name="models" /> <a href=${href(`/models/${job.model.name}`, { version: job.model.version })}>${job.model.name}@${job.model.version}</a></li>`}
        </ol>
        <h2>Environment</h2>
        ${job.runtime ? html`<table class="dense environment"><tbody>${Object.entries(job.runtime).filter(([name, value]) => value !== null && name !== "evaluation").map(([name, value]) => html`<tr key=${name}><th scope="row" class="dim">${name.replace(/_/g, " ")}</th><td class="wrap">${name.endsWith("_pid") ? String(value) : formatValue(value)}</td></tr>`)}</tbody></table>` : html`<p class="dim">Known after the first attempt.</p>`}
      </section>
</div>
    </div>
  `;
}
