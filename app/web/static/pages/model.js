// One model: its versions, aliases, variants, lineage and card.
import { html, useEffect, useState } from "../lib/preact.js";
import { request } from "../lib/api.js";
import { formatAge, formatBytes, formatMetricName, formatNumber, formatTime } from "../lib/format.js";
import { buildCard } from "../lib/model_card.js";
import { useResource } from "../lib/resource.js";
import { href, navigate } from "../lib/router.js";
import { CodeBlock, Dialog, Facts, Tabs } from "../components/controls.js";
import { attempt, Loaded, showToast } from "../components/feedback.js";
import { Icon } from "../components/icon.js";
import { DeleteButton, Description } from "../components/resource_actions.js";

const FORMATS = ["onnx", "int8", "openvino", "torch-compile", "torch-export"];

/** @param {{name: string, query: URLSearchParams}} properties */
export default function ModelPage({ name, query }) {
  const model = useResource(`v1/models/${name}`, { everyMs: 10000 });
  useEffect(() => {
    document.title = `${name} · Candela`;
  }, [name]);
  return html`
    <header class="page-head">
      <div><p class="crumbs"><a href=${href("/models")}>Models</a> /</p><h1>${name}</h1></div>
      <div class="actions">
        <${DeleteButton} label="Delete" name=${name} path=${`v1/models/${name}`} onDeleted=${() => navigate(href("/models"))}
          note="Its versions, variants and aliases are deleted. Their files are removed for good. Jobs and datasets remain." />
        <a class="button primary" href=${href("/predict", { model: name })}><${Icon} name="predict" /> Try it</a>
      </div>
    </header>
    <${Loaded} resource=${model}>${(value) => html`<${Description} path=${`v1/models/${name}`} value=${value} onChange=${model.refresh} /><${Versions} model=${value} query=${query} onChange=${model.refresh} />`}<//>
  `;
}

/** @param {{model: any, query: URLSearchParams, onChange: () => void}} properties */
function Versions({ model, query, onChange }) {
  const number = Number(query.get("version")) || model.versions[0]?.version;
  const names = [...new Set(model.versions.flatMap((version) => Object.keys(version.metrics)))].filter((name) => !String(name).startsWith("train_")).slice(0, 5);
  return html`
    <div class="table-box" tabindex="0" role="region" aria-label="Table"><table>
      <thead><tr><th scope="col">Version</th><th scope="col">Aliases</th>${names.map((name) => html`<th scope="col" class="number" key=${name}>${formatMetricName(String(name))}</th>`)}<th scope="col" class="number">Parameters</th><th scope="col" class="number">Registered</th></tr></thead>
      <tbody>
        ${model.versions.map(
          (version) => html`<tr key=${version.version} class=${version.version === number ? "selected" : ""}>
            <th scope="row"><a href=${href(`/models/${model.name}`, { version: version.version })} aria-current=${version.version === number ? "true" : undefined}>${model.name}@${version.version}</a></th>
            <td>${Object.entries(model.aliases).filter(([, target]) => target === version.version).map(([alias]) => html`<span class="tag" key=${alias}>${alias}</span>`)}</td>
            ${names.map((name) => html`<td class="number" key=${name}>${formatNumber(version.metrics[/** @type {string} */ (name)])}</td>`)}
            <td class="number">${formatNumber(version.num_parameters)}</td><td class="number dim">${formatAge(version.created_at)}</td>
          </tr>`,
        )}
      </tbody>
    </table></div>
    ${number && html`<${Version} key=${number} name=${model.name} number=${number} aliases=${model.aliases} query=${query} onChange=${onChange} />`}
  `;
}

/** @param {{name: string, number: number, aliases: Record<string, number>, query: URLSearchParams, onChange: () => void}} properties */
function Version({ name, number, aliases, query, onChange }) {
  const version = useResource(`v1/models/${name}/versions/${number}`, { everyMs: 5000 });
  const tab = query.get("tab") || "facts";
  const mine = Object.keys(aliases).filter((alias) => aliases[alias] === number);
  return html`<section class="card">
    <header class="section-head"><h2>${name}@${number}</h2>
      <div class="actions"><${AliasButton} name=${name} number=${number} aliases=${aliases} onChange=${onChange} />
        <a class="button" href=${`v1/models/${name}/versions/${number}/bundle`} download><${Icon} name="download" /> Bundle</a>
        ${mine.map((alias) => html`<${DeleteButton} key=${alias} label=${`Delete alias ${alias}`} name=${`${name}@${alias}`} path=${`v1/models/${name}/aliases/${alias}`} onDeleted=${onChange} note=${`Requests to ${name}@${alias} are refused from then on. The version remains.`} />`)}
        <${DeleteButton} label="Delete version" name=${`${name}@${number}`} path=${`v1/models/${name}/versions/${number}`} onDeleted=${() => (navigate(href(`/models/${name}`)), onChange())}
          listDependents=${async () => mine.map((alias) => ({ text: `the alias ${alias}` }))}
          note="Its files and variants are removed for good, and its number is not used again. Its job and dataset remain." /></div>
    </header>
    <${Tabs} name="tab" chosen=${tab} tabs=${[["facts", "Facts"], ["variants", "Variants"], ["card", "Card"]]} label="Views of the version" />
    <div id="tab-panel" role="tabpanel" aria-labelledby=${`tab-${tab}`} tabindex="-1">
      <${Loaded} resource=${version}>
        ${(value) => (tab === "variants" ? html`<${Variants} version=${value} />` : tab === "card" ? html`<${CodeBlock} label="Markdown" text=${buildCard(value)} />` : html`<${Description} path=${`v1/models/${name}/versions/${number}`} value=${value} onChange=${version.refresh} what="this version" /><${VersionFacts} version=${value} />`)}
      <//>
    </div>
  </section>`;
}

/** @param {{version: any}} properties */
function VersionFacts({ version }) {
  return html`<${Facts}
    items=${[
      ["Task", version.task],
      ["Classes", version.classes.length ? `${version.classes.length}: ${version.classes.slice(0, 12).join(", ")}${version.classes.length > 12 ? ", …" : ""}` : null],
      ["Architecture", version.architecture.name],
      ["Input", version.input.table ? version.input.table.columns.map((column) => column.name).join(", ") : version.input.image_shape.join(" × ")],
      ["Dataset", html`<a href=${href(`/datasets/${version.dataset.name}`, { version: version.dataset.version })}>${version.dataset.name}@${version.dataset.version}</a>`],
      ["Job", html`<a href=${href(`/jobs/${version.job_id}`)}>${version.job_id.slice(0, 8)}</a>`],
      ["Size", formatBytes(version.size_bytes)],
      ["sha256", html`<code class="hash">${version.sha256}</code>`],
      ["Registered", formatTime(version.created_at)],
      ...Object.entries(version.metrics).map(([name, value]) => /** @type {[string, any]} */ ([formatMetricName(name), formatNumber(value)])),
    ]}
  />`;
}

/** @param {{version: any}} properties */
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
    ${version.variants.length > 0 &&
    html`<div class="table-box" tabindex="0" role="region" aria-label="Table"><table>
      <thead><tr><th scope="col">Format</th><th scope="col">Precision</th><th scope="col" class="number">Model</th><th scope="col" class="number">Variant</th><th scope="col" class="number">Speed</th><th scope="col" class="number">Size</th><th scope="col"><span class="sr-only">Actions</span></th></tr></thead>
      <tbody>
        ${version.variants.map(
          (variant) => html`<tr key=${variant.format}>
            <th scope="row">${variant.format}</th><td>${variant.precision}</td>
            <td class="number">${variant.metric} ${formatNumber(variant.before)}</td><td class="number">${formatNumber(variant.after)}</td>
            <td class="number">× ${variant.speed_ratio.toFixed(2)}</td><td class="number">${formatBytes(variant.size_bytes)}</td>
            <td class="actions"><a class="button" href=${`v1/models/${version.name}/versions/${version.version}/variants/${variant.format}/files/${variant.file}`} download><${Icon} name="download" /> File</a></td>
          </tr>`,
        )}
      </tbody>
    </table></div>`}
    <form class="toolbar" onSubmit=${create}>
      <label>Format <select value=${format} onChange=${(event) => setFormat(event.target.value)}>${FORMATS.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>
      <button type="submit"><${Icon} name="plus" /> Create variant</button>
      <span class="dim">A variant whose predictions differ too much is rejected.</span>
    </form>
  `;
}

/** @param {{name: string, number: number, aliases: Record<string, number>, onChange: () => void}} properties */
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
