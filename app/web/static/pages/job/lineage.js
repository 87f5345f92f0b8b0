// What a job was made of and what was made from it, its environment, and the verdict of a reproduction.
import { html } from "../../lib/preact.js";
import { formatCount, formatNumber, formatPointer, formatValue } from "../../lib/format.js";
import { ENDED } from "../../lib/jobs.js";
import { useResource } from "../../lib/resource.js";
import { href } from "../../lib/router.js";
import { Table } from "../../components/controls.js";
import { Loaded } from "../../components/feedback.js";
import { Icon } from "../../components/icon.js";
import { EnvironmentTable, LineageTree } from "../../components/lineage.js";

export function LineageTab({ job }) {
  const lineage = useResource(`v1/jobs/${job.id}/lineage`, { everyMs: ENDED.has(job.state) ? 0 : 5000 });
  const { evaluation, ...environment } = job.runtime || {};
  return html`
    <div class="evaluation">
      <section class="card">
        <h2>Lineage</h2>
        <${Loaded} resource=${lineage} lines=${4}>${(value) => html`<${LineageTree} lineage=${value}>${job.model && html`<${Result} model=${job.model} />`}<//>`}<//>
      </section>
      <section class="card">
        <h2>Environment</h2>
        ${job.runtime ? html`<${EnvironmentTable} values=${environment} />` : html`<p class="dim">Known after the first attempt.</p>`}
      </section>
    </div>
  `;
}

/** The model version that a job registered, and its variants. */
function Result({ model }) {
  const version = useResource(`v1/models/${model.name}/versions/${model.version}`).value;
  const address = (tab) => href(`/models/${model.name}`, { version: model.version, tab });
  return html`
    <li><${Icon} name="models" /> <a href=${address(null)}>${model.name}@${model.version}</a></li>
    ${(version?.variants || []).map((one) => html`<li key=${one.format}><${Icon} name="models" /> <a href=${address("variants")}>variant ${one.format}</a></li>`)}
  `;
}

/** The tone, the text and the meaning of each verdict. */
const VERDICTS = /** @type {Record<string, [string, string, string]>} */ ({
  identical: ["good", "Identical", "The weights are equal, bit for bit."],
  equal_metrics: ["warn", "Equal metrics", "The weights differ, but all metrics are equal within the tolerance."],
  different: ["bad", "Different", "The weights and the metrics differ."],
});

/** What a job of the kind `reproduce` found, compared with its original. */
export function Reproduction({ job }) {
  const { result, spec } = job;
  const original = html`<a href=${href(`/jobs/${spec.original.job}`)}>${result?.original.model || `job ${spec.original.job.slice(0, 8)}`}</a>`;
  if (!result) return html`<p class="notice">This job repeats the training of ${original}. ${ENDED.has(job.state) ? "It ended before the results could be compared." : "The results are compared when it has ended."}</p>`;
  const [tone, text, meaning] = VERDICTS[result.verdict] || ["quiet", result.verdict, ""];
  const { compared, first_difference: first } = result;
  const hash = (value) => html`<code class="wrap">${value}</code>`;
  const show = (value) => (value === null ? html`<span class="dim">none</span>` : formatValue(value));
  const rows = [
    ["sha256 of the weights", hash(result.original.sha256), hash(result.sha256)],
    ...(first ? [[`loss of step ${formatNumber(first.step)}, the first that differs`, show(first.original), show(first.reproduced)]] : []),
    ...result.changes.map((change) => [`changed: ${formatPointer(change.pointer)}`, show(change.original), show(change.reproduced)]),
    ...(result.environment || []).map((one) => [one.field.replace(/_/g, " "), show(one.original), show(one.reproduced)]),
  ];
  return html`<section class="card reproduction" aria-label="Reproduction">
    <h2><span>Reproduction of ${original}</span> <span class=${`badge badge-${tone}`}><span class="dot" aria-hidden="true"></span>${text}</span></h2>
    <p>${meaning}</p>
    <${Table} label="What differs" head=${["Field", "Original", "This job"]} rows=${rows.map((cells) => [cells[0], cells])} />
    <p class="dim after">Compared: the weights, ${formatCount(compared.num_losses, "recorded loss", "recorded losses")}, and ${formatCount(compared.num_epoch_metrics, "metric of an epoch", "metrics of epochs")}${compared.num_different_epoch_metrics ? `, of which ${formatNumber(compared.num_different_epoch_metrics)} differ` : ""}. ${result.environment === null ? "The environment of the original is not known: its job was deleted." : result.environment.length ? "" : "The environments are the same."}</p>
  </section>`;
}
