// The registered models; and one model: its versions, aliases, variants, lineage and card.
import { html, useState } from "../lib/preact.js";
import { request } from "../lib/api.js";
import { formatAge, formatBytes, formatCount, formatMetricName, formatNumber, formatPointer, formatTime } from "../lib/format.js";
import { useResource } from "../lib/resource.js";
import { changeQuery, href, navigate } from "../lib/router.js";
import { isLowerBetter } from "../lib/series.js";
import { ComparisonTable } from "../components/comparison.js";
import { CopyButton, Dialog, Facts, Menu, PageHead, SearchField, Segments, Table, Tabs } from "../components/controls.js";
import { attempt, EmptyState, Loaded, showToast } from "../components/feedback.js";
import { Icon } from "../components/icon.js";
import { EnvironmentTable, LineageTree, ReproduceButton } from "../components/lineage.js";
import { Markdown } from "../components/markdown.js";
import { DeleteButton, Description } from "../components/resource_actions.js";

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
      `${model.versions.length}${model.versions_cursor ? "+" : ""}`,
      Object.entries(model.aliases).map(([alias, version]) => html`<span class="tag" key=${alias}>${alias} → ${version}</span>`),
      newest?.num_parameters,
      html`<span class="dim">${formatAge(newest?.created_at)}</span>`,
      html`<a class="button" href=${href("/predict", { model: model.name })}><${Icon} name="predict" /> Try it</a>`,
    ],
  ];
}

const FORMATS = ["onnx", "int8", "openvino", "torch-compile", "torch-export", "auto"];

export function ModelPage({ name, query }) {
  const model = useResource(`v1/models/${name}`, { everyMs: 10000 });
  return html`
    <${PageHead} title=${name} crumbs=${html`<a href=${href("/models")}>Models</a>`}>
      <a class="button primary" href=${href("/predict", { model: name })}><${Icon} name="predict" /> Try it</a>
      <${Menu} label="More"><${DeleteButton} label="Delete the model" name=${name} path=${`v1/models/${name}`} onDeleted=${() => navigate(href("/models"))} note="Its versions, variants and aliases are deleted. Their files are removed for good. Jobs and datasets remain." /><//>
    <//>
    <${Loaded} resource=${model}>${(value) => html`<${Description} path=${`v1/models/${name}`} value=${value} onChange=${model.refresh} /><${Versions} model=${value} query=${query} onChange=${model.refresh} />`}<//>
  `;
}

function Versions({ model, query, onChange }) {
  const [older, setOlder] = useState(/** @type {{items: any[], next_cursor: string | null} | null} */ (null));
  const versions = [...model.versions, ...(older?.items || []).filter((version) => version.version < model.versions[model.versions.length - 1]?.version)];
  const cursor = older ? older.next_cursor : model.versions_cursor;
  const loadOlder = () =>
    attempt(async () => {
      const page = await request(`v1/models/${model.name}/versions?cursor=${cursor}`);
      // With the newest versions of now: they become older ones when versions are registered.
      setOlder({ items: [...(older?.items || model.versions), ...page.items], next_cursor: page.next_cursor });
    });
  const number = Number(query.get("version")) || model.versions[0]?.version;
  const compared = query.getAll("compare").map(Number);
  const names = [...new Set(versions.flatMap((version) => Object.keys(version.metrics)))].map(String).filter((name) => !name.startsWith("train_")).slice(0, 5);
  const toggle = (one) => changeQuery({ compare: (compared.includes(one) ? compared.filter((other) => other !== one) : [...compared.slice(-1), one]).map(String) });
  return html`
    <${Table} label="Versions" head=${["Version", "Aliases", ...names.map((name) => `${formatMetricName(name)}#`), "Parameters#", "Registered#"]}
      rows=${versions.map((version) => [
        version.version,
        [
          html`<input type="checkbox" aria-label=${`Compare version ${version.version}`} checked=${compared.includes(version.version)} onChange=${() => toggle(version.version)} /> <a href=${href(`/models/${model.name}`, { version: version.version })} aria-current=${version.version === number ? "true" : undefined}>${model.name}@${version.version}</a>`,
          Object.entries(model.aliases).filter(([, target]) => target === version.version).map(([alias]) => html`<span class="tag" key=${alias}>${alias}</span>`),
          ...names.map((name) => version.metrics[name]),
          version.num_parameters,
          html`<span class="dim">${formatAge(version.created_at)}</span>`,
        ],
        version.version === number ? "selected" : "",
      ])} />
    ${cursor && html`<button type="button" onClick=${loadOlder}>Older versions</button>`}
    ${compared.length === 2
      ? html`<${VersionComparison} key=${compared.join()} name=${model.name} numbers=${[...compared].sort((a, b) => b - a)} />`
      : versions.length > 1 && html`<p class="dim">${compared.length ? "Select a second version to compare." : "Select two versions to compare them."}</p>`}
    ${number && html`<${Version} key=${number} name=${model.name} number=${number} aliases=${model.aliases} query=${query} onChange=${onChange} />`}
  `;
}

/** Two versions side by side. */
function VersionComparison({ name, numbers }) {
  const [a, b] = numbers.map((number) => useResource(`v1/models/${name}/versions/${number}`).value);
  const comparison = useResource(a && b ? `v1/jobs/compare?job=${a.job_id}&job=${b.job_id}` : null).value;
  if (!a || !b) return null;
  const row = (title, values, better = 0) => ({ key: title, title, values: values.map((value) => value ?? null), better });
  const differences = (comparison?.differences || []).filter((field) => field.pointer !== "/name").slice(0, 30);
  return html`<section>
    <h2>Compare ${name}@${numbers[0]} with ${name}@${numbers[1]}</h2>
    <${ComparisonTable} label="Comparison of two versions" first="Field" names=${numbers.map((number) => `${name}@${number}`)} rows=${[
      ...Object.keys({ ...a.metrics, ...b.metrics }).map((metric) => row(formatMetricName(metric), [a.metrics[metric], b.metrics[metric]], isLowerBetter(metric) ? -1 : 1)),
      ...differences.map((field) => row(formatPointer(field.pointer), [a, b].map((one) => field.values[one.job_id]))),
      row("parameters", [a.num_parameters, b.num_parameters]),
      row("size", [formatBytes(a.size_bytes), formatBytes(b.size_bytes)]),
      row("dataset", [a, b].map((one) => one.dataset && `${one.dataset.name}@${one.dataset.version}`)),
    ]} />
  </section>`;
}

function Version({ name, number, aliases, query, onChange }) {
  const path = `v1/models/${name}/versions/${number}`;
  const version = useResource(path, { everyMs: 5000 });
  const lineage = useResource(`${path}/lineage`);
  const card = useResource(`${path}/card`);
  const tab = query.get("tab") || "facts";
  const mine = Object.keys(aliases).filter((alias) => aliases[alias] === number);
  return html`<section class="card">
    <header class="section-head"><h2>${name}@${number}</h2>
      <div class="actions"><${AliasButton} name=${name} number=${number} aliases=${aliases} onChange=${onChange} />
        <a class="button" href=${`v1/models/${name}/versions/${number}/bundle`} download><${Icon} name="download" /> Download bundle</a>
        <${Menu} label="More">
          ${mine.map((alias) => html`<${DeleteButton} key=${alias} label=${`Delete alias ${alias}`} name=${`${name}@${alias}`} path=${`v1/models/${name}/aliases/${alias}`} onDeleted=${onChange} note=${`Requests to ${name}@${alias} are refused from then on. The version remains.`} />`)}
          <${DeleteButton} label="Delete version" name=${`${name}@${number}`} path=${`v1/models/${name}/versions/${number}`} onDeleted=${() => (navigate(href(`/models/${name}`)), onChange())}
            listDependents=${async () => mine.map((alias) => ({ text: `the alias ${alias}` }))}
            note="Its files and variants are removed for good, and its number is not used again. Its job and dataset remain." />
        <//></div>
    </header>
    <${Tabs} name="tab" chosen=${tab} tabs=${[["facts", "Facts"], ["variants", "Variants"], ["card", "Card"]]} label="Views of the version" />
    <div id="tab-panel" role="tabpanel" aria-labelledby=${`tab-${tab}`} tabindex="-1">
      <${Loaded} resource=${version}>
        ${(value) => (tab === "variants" ? html`<${Variants} version=${value} />` : tab === "card" ? html`<${Loaded} resource=${card}>${(text) => html`<${Card} version=${value} text=${text} />`}<//>` : html`<${Description} path=${path} value=${value} onChange=${version.refresh} what="this version" /><${VersionFacts} version=${value} /><${Loaded} resource=${lineage} lines=${4}>${(graph) => html`<${LineageSection} version=${value} lineage=${graph} card=${card.value} path=${path} />`}<//>`)}
      <//>
    </div>
  </section>`;
}

/** The model card, rendered or as text. */
function Card({ version, text }) {
  const [isText, setText] = useState(false);
  return html`
    <div class="toolbar">
      <${Segments} label="Format" chosen=${String(isText)} options=${[["false", "Rendered"], ["true", "Markdown"]]} onChoose=${(value) => setText(value === "true")} />
      <span class="grow"></span><${CopyButton} text=${text} />
      <a class="button" href=${`data:text/markdown;charset=utf-8,${encodeURIComponent(text)}`} download=${`${version.name}-${version.version}.md`}><${Icon} name="download" /> Download</a>
    </div>
    ${isText ? html`<pre class="code" tabindex="0" role="region" aria-label="Markdown">${text}</pre>` : html`<${Markdown} text=${text} />`}
  `;
}

/** What a version was made of and what was made from it, and the environment of its training. */
function LineageSection({ version, lineage, card, path }) {
  const environment = lineage.nodes.find((node) => node.kind === "job")?.environment || {}; // of the job that registered the version
  const address = href(`/models/${version.name}`, { version: version.version, tab: "variants" });
  return html`<section class="lineage">
    <header class="section-head"><h3>Lineage</h3>
      <div class="actions">${card && html`<${CopyButton} text=${card} label="Copy as model card (Markdown)" />`}${version.dataset && html`<${ReproduceButton} path=${path} />`}</div>
    </header>
    <${LineageTree} lineage=${lineage}>
      ${version.variants.map((one) => html`<li key=${one.format}><${Icon} name="models" /> <a href=${address}>variant ${one.format}</a></li>`)}
      <li><${Icon} name="jobs" /> <a href=${href("/jobs", { model: version.name })}>the jobs of the model</a></li>
    <//>
    ${Object.keys(environment).length > 0 && html`<h3>Environment of the training</h3><${EnvironmentTable} values=${environment} label="Environment of the training" />`}
  </section>`;
}

function VersionFacts({ version }) {
  return html`<${Facts}
    items=${[
      ["Task", version.task],
      ["Classes", version.classes.length ? `${version.classes.length}: ${version.classes.slice(0, 12).join(", ")}${version.classes.length > 12 ? ", …" : ""}` : null],
      ["Architecture", version.architecture.name],
      ["Input", version.input.table ? version.input.table.columns.map((column) => column.name).join(", ") : version.input.image_shape.join(" × ")],
      ["Parameters", formatNumber(version.num_parameters)],
      ["Size", formatBytes(version.size_bytes)],
      ["sha256", html`<code title=${version.sha256}>${version.sha256.slice(0, 8)}…</code><${CopyButton} text=${version.sha256} label="" />`],
      ["Registered", formatTime(version.created_at)],
      ...Object.entries(version.metrics).filter(([name]) => name.startsWith("train_")).map(([name, value]) => /** @type {[string, any]} */ ([formatMetricName(name), formatNumber(value)])),
    ]}
  />`;
}

function Variants({ version }) {
  const [format, setFormat] = useState(FORMATS[0]);
  const create = (event) => {
    event.preventDefault();
    return attempt(async () => {
      const job = await request(`v1/models/${version.name}/versions/${version.version}/variants`, { method: "POST", json: { format } });
      navigate(href(`/jobs/${job.id}`));
    });
  };
  return html`
    ${version.variants.length > 0
      ? html`<${Table} label="Variants" head=${["Format", "Precision", "Metric", "Model#", "Variant#", "Speed#", "Size#", ""]} rows=${version.variants.map((variant) => [
          variant.format,
          [variant.chosen_by ? `${variant.format} (chosen automatically)` : variant.format, variant.precision, formatMetricName(variant.metric), variant.before, variant.after, `× ${variant.speed_ratio.toFixed(2)}`, formatBytes(variant.size_bytes),
            html`<a class="button" href=${`v1/models/${version.name}/versions/${version.version}/variants/${variant.format}/files/${variant.file}`} download><${Icon} name="download" /> File</a>`],
        ])} />`
      : html`<p>No variants yet. A variant is the same network in a format that is faster or smaller, such as ONNX or 8-bit integers.</p>`}
    <form class="toolbar" onSubmit=${create}>
      <label>Format <select value=${format} onChange=${(event) => setFormat(event.target.value)}>${FORMATS.map((name) => html`<option key=${name} value=${name}>${name === "auto" ? "the fastest" : name}</option>`)}</select></label>
      <button type="submit"><${Icon} name="plus" /> Create variant</button>
      <span class="dim">A variant whose predictions differ too much is rejected.</span>
    </form>
  `;
}

function AliasButton({ name, number, aliases, onChange }) {
  const [isOpen, setOpen] = useState(false);
  const [alias, setAlias] = useState("");
  const current = aliases[alias];
  const put = (version) => request(`v1/models/${name}/aliases/${alias}`, { method: "PUT", json: { version } });
  const save = (event) => {
    event.preventDefault();
    return attempt(async () => {
      await put(number);
      setOpen(false);
      onChange();
      showToast(`${alias} refers to version ${number}`, current && current !== number ? { undo: () => attempt(async () => (await put(current), onChange())) } : {});
    });
  };
  return html`
    <button type="button" onClick=${() => setOpen(true)}><${Icon} name="tag" /> Set alias</button>
    ${isOpen &&
    html`<${Dialog} title=${`Set an alias of version ${number}`} onClose=${() => setOpen(false)}>
      <form onSubmit=${save}>
        <label class="field">Alias <input required pattern="[a-z][a-z0-9._\\-]*" maxlength="63" placeholder="production" list="aliases" value=${alias} onInput=${(event) => setAlias(event.target.value)} /></label>
        <datalist id="aliases">${Object.keys(aliases).map((name) => html`<option key=${name} value=${name}></option>`)}</datalist>
        ${current && current !== number && html`<p class="notice notice-warn">${alias} refers to version ${current}. Requests to ${name}@${alias} will use version ${number} at once.</p>`}
        <footer><button type="button" onClick=${() => setOpen(false)}>Cancel</button><button type="submit" class="primary">${current && current !== number ? `Move from ${current} to ${number}` : "Set alias"}</button></footer>
      </form>
    <//>`}
  `;
}
