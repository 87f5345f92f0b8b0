// The registered models.
import { html, useState } from "../lib/preact.js";
import { formatAge, formatCount, formatMetricName, formatNumber } from "../lib/format.js";
import { useResource } from "../lib/resource.js";
import { href } from "../lib/router.js";
import { PageHead, Table } from "../components/controls.js";
import { EmptyState, Loaded } from "../components/feedback.js";
import { Icon } from "../components/icon.js";

const MAX_METRICS = 3;

export default function ModelsPage() {
  const models = useResource("v1/models?limit=200", { everyMs: 10000 });
  const [text, setText] = useState("");
  return html`
    <${PageHead} title="Models" />
    <${Loaded} resource=${models} lines=${8}>
      ${(page) => {
        if (!page.items.length) return html`<${EmptyState} icon="models" title="No models yet"><p>A training job registers a version of its model when it ends.</p><p><a class="button primary" href=${href("/new")}>New job</a></p><//>`;
        const names = [...new Set(page.items.flatMap((model) => Object.keys(model.versions[0]?.metrics || {})))].map(String).filter((name) => !name.startsWith("train_")).slice(0, MAX_METRICS);
        return html`
          <div class="toolbar"><label class="search"><${Icon} name="search" /><input type="search" aria-label="Search models" placeholder="Search  /" value=${text} onInput=${(event) => setText(event.target.value)} /></label><span class="dim">${formatCount(page.items.length, "model")}. The figures are of the newest version.</span></div>
          <${Table} label="Models" head=${["Name", ...names.map((name) => `${formatMetricName(name)}#`), "Versions#", "Aliases", "Parameters#", "Registered#", ""]}>
            ${page.items.filter((model) => [model.name, ...model.tags].some((one) => one.includes(text))).map((model) => html`<${ModelRow} key=${model.name} model=${model} names=${names} />`)}
          <//>
        `;
      }}
    <//>
  `;
}

function ModelRow({ model, names }) {
  const newest = model.versions[0];
  return html`<tr>
    <th scope="row"><a href=${href(`/models/${model.name}`)}>${model.name}</a> ${model.tags.map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}</th>
    ${names.map((name) => html`<td class="number" key=${name}>${formatNumber(newest?.metrics[name])}</td>`)}
    <td class="number">${model.versions.length}${model.versions_cursor ? "+" : ""}</td>
    <td>${Object.entries(model.aliases).map(([alias, version]) => html`<span class="tag" key=${alias}>${alias} → ${version}</span>`)}</td>
    <td class="number">${formatNumber(newest?.num_parameters)}</td>
    <td class="number dim">${formatAge(newest?.created_at)}</td>
    <td><a class="button" href=${href("/predict", { model: model.name })}><${Icon} name="predict" /> Try it</a></td>
  </tr>`;
}
