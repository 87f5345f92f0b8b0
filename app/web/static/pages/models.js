// The registered models.
import { html, useEffect, useState } from "../lib/preact.js";
import { formatAge, formatCount, formatMetricName, formatNumber } from "../lib/format.js";
import { useResource } from "../lib/resource.js";
import { href } from "../lib/router.js";
import { EmptyState, Loaded } from "../components/feedback.js";
import { Icon } from "../components/icon.js";

export default function ModelsPage() {
  const models = useResource("v1/models?limit=200", { everyMs: 10000 });
  const [text, setText] = useState("");
  useEffect(() => {
    document.title = "Models · Candela";
  }, []);
  return html`
    <header class="page-head"><h1>Models</h1></header>
    <${Loaded} resource=${models} lines=${8}>
      ${(page) =>
        page.items.length === 0
          ? html`<${EmptyState} icon="models" title="No models yet"><p>A training job registers a version of its model when it ends.</p><p><a class="button primary" href=${href("/new")}>New job</a></p><//>`
          : html`
              <div class="toolbar"><label class="search"><${Icon} name="search" /><input type="search" aria-label="Search models" placeholder="Search  /" value=${text} onInput=${(event) => setText(event.target.value)} /></label><span class="dim">${formatCount(page.items.length, "model")}</span></div>
              <div class="table-box" tabindex="0" role="region" aria-label="Table"><table>
                <thead><tr><th scope="col">Name</th><th scope="col">Newest version</th><th scope="col">Aliases</th><th scope="col">Metrics</th><th scope="col" class="number">Parameters</th><th scope="col" class="number">Registered</th><th scope="col"><span class="sr-only">Actions</span></th></tr></thead>
                <tbody>${page.items.filter((model) => [model.name, ...model.tags].some((one) => one.includes(text))).map((model) => html`<${ModelRow} key=${model.name} model=${model} />`)}</tbody>
              </table></div>
            `}
    <//>
  `;
}

/** @param {{model: any}} properties */
function ModelRow({ model }) {
  const newest = model.versions[0];
  const metrics = Object.entries(newest?.metrics || {}).filter(([name]) => !name.startsWith("train_")).slice(0, 3);
  return html`<tr>
    <th scope="row"><a href=${href(`/models/${model.name}`)}>${model.name}</a> ${model.tags.map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}</th>
    <td>${newest ? html`${newest.version} <span class="dim">of ${model.versions.length}</span>` : "–"}</td>
    <td>${Object.entries(model.aliases).map(([alias, version]) => html`<span class="tag" key=${alias}>${alias} → ${version}</span>`)}</td>
    <td>${metrics.map(([name, value]) => html`<span class="metric" key=${name}>${formatMetricName(name)} <b>${formatNumber(value)}</b></span>`)}</td>
    <td class="number">${formatNumber(newest?.num_parameters)}</td>
    <td class="number dim">${formatAge(newest?.created_at)}</td>
    <td class="actions"><a class="button" href=${href("/predict", { model: model.name })}><${Icon} name="predict" /> Try it</a></td>
  </tr>`;
}
