// The registered models.
import { html, useState } from "../lib/preact.js";
import { formatAge, formatCount, formatMetricName } from "../lib/format.js";
import { useResource } from "../lib/resource.js";
import { href } from "../lib/router.js";
import { PageHead, SearchField, Table } from "../components/controls.js";
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
          <div class="toolbar"><${SearchField} label="Search models" text=${text} onInput=${setText} /><span class="dim">${formatCount(page.items.length, "model")}. The figures are of the newest version.</span></div>
          <${Table} label="Models" head=${["Name", ...names.map((name) => `${formatMetricName(name)}#`), "Versions#", "Aliases", "Parameters#", "Registered#", ""]} rows=${page.items.filter((model) => [model.name, ...model.tags].some((one) => one.includes(text))).map((model) => buildRow(model, names))} />
        `;
      }}
    <//>
  `;
}

function buildRow(model, names) {
  const newest = model.versions[0];
  return [
    model.name,
    [
      html`<a href=${href(`/models/${model.name}`)}>${model.name}</a> ${model.tags.map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}`,
      ...names.map((name) => newest?.metrics[name]),
      model.versions.length,
      Object.entries(model.aliases).map(([alias, version]) => html`<span class="tag" key=${alias}>${alias} → ${version}</span>`),
      newest?.num_parameters,
      html`<span class="dim">${formatAge(newest?.created_at)}</span>`,
      html`<a class="button" href=${href("/predict", { model: model.name })}><${Icon} name="predict" /> Try it</a>`,
    ],
  ];
}
