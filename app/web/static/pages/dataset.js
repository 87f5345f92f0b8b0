// One dataset: its versions, the report of the import, and its samples.
import { html, useEffect } from "../lib/preact.js";
import { buildPath, request } from "../lib/api.js";
import { formatAge, formatCount, formatNumber } from "../lib/format.js";
import { useResource } from "../lib/resource.js";
import { changeQuery, href, navigate } from "../lib/router.js";
import { Facts, StateBadge, Tabs } from "../components/controls.js";
import { EmptyState, Loaded } from "../components/feedback.js";
import { Icon } from "../components/icon.js";
import { DeleteButton, Description } from "../components/resource_actions.js";

const TABS = /** @type {[string, string][]} */ ([["report", "Report"], ["samples", "Samples"], ["duplicates", "Duplicates and leaks"], ["jobs", "Jobs"]]);
const PAGE_SIZE = 60;
const DELETED = "The files are deleted for good. Models that were trained on it remain.";

/** @param {{name: string, query: URLSearchParams}} properties */
export default function DatasetPage({ name, query }) {
  const dataset = useResource(`v1/datasets/${name}`, { everyMs: 3000 });
  useEffect(() => {
    document.title = `${name} · Candela`;
  }, [name]);
  return html`
    <header class="page-head">
      <div><p class="crumbs"><a href=${href("/datasets")}>Datasets</a> /</p><h1>${name}</h1></div>
      <div class="actions">
        <${DeleteButton} label="Delete" name=${name} path=${`v1/datasets/${name}`} onDeleted=${() => navigate(href("/datasets"))} listDependents=${() => listJobs(name)} note=${`All its versions are deleted. ${DELETED}`} />
        <a class="button primary" href=${href("/new", { dataset: name })}><${Icon} name="plus" /> Train on it</a>
      </div>
    </header>
    <${Loaded} resource=${dataset}>
      ${(value) =>
        value.versions.length === 0
          ? html`<${EmptyState} icon="datasets" title="Not imported yet"><p>${value.summary}</p><p>The first job that uses this built-in dataset imports it.</p><//>`
          : html`<${Description} path=${`v1/datasets/${name}`} value=${value} onChange=${dataset.refresh} /><${Versions} dataset=${value} query=${query} onChange=${dataset.refresh} />`}
    <//>
  `;
}

/** The jobs that use a dataset or a version, such as `pets@2`. @param {string} dataset */
async function listJobs(dataset) {
  const page = await request(buildPath("v1/jobs", { dataset, limit: 20 }));
  return page.items.map((job) => ({ text: `the job ${job.name} (${job.state})`, href: href(`/jobs/${job.id}`) }));
}

/** @param {{dataset: any, query: URLSearchParams, onChange: () => void}} properties */
function Versions({ dataset, query, onChange }) {
  const number = Number(query.get("version")) || dataset.versions[0].version;
  const version = dataset.versions.find((one) => one.version === number) || dataset.versions[0];
  const tab = query.get("tab") || "report";
  return html`
    <div class="toolbar">
      <label>Version <select value=${String(version.version)} onChange=${(event) => changeQuery({ version: event.target.value, cursor: null })}>${dataset.versions.map((one) => html`<option key=${one.version} value=${String(one.version)}>${one.version} · ${one.state} · ${formatAge(one.created_at)}</option>`)}</select></label>
      <${StateBadge} state=${version.state} />
      <span class="grow"></span>
      <${DeleteButton} label="Delete this version" name=${`${dataset.name}@${version.version}`} path=${`v1/datasets/${dataset.name}/versions/${version.version}`} onDeleted=${() => navigate(href("/datasets"))} listDependents=${() => listJobs(`${dataset.name}@${version.version}`)} note=${DELETED} />
    </div>
    <${Description} path=${`v1/datasets/${dataset.name}/versions/${version.version}`} value=${version} onChange=${onChange} what="this version" />
    ${version.failure && html`<div class="notice notice-bad" role="alert"><${Icon} name="warning" /><div><strong>${version.failure.message}</strong><p>${version.failure.hint}</p></div></div>`}
    ${version.warnings.map((text) => html`<div class="notice notice-warn" key=${text}><${Icon} name="warning" /><div>${text}</div></div>`)}
    <${Facts}
      items=${[
        ["Task", version.task],
        ["Samples", version.num_samples === null ? null : formatNumber(version.num_samples)],
        ["Shape", version.image_shape?.join(" × ") ?? null],
        ["Classes", version.classes?.length || null],
        ...Object.entries(version.splits || {}).map(([split, count]) => /** @type {[string, any]} */ ([split, formatNumber(count)])),
        ["Columns", version.table?.columns.map((column) => column.name).join(", ") ?? null],
        ["Targets", version.table?.targets.join(", ") ?? null],
      ]}
    />
    ${version.state === "ready" &&
    html`<${Tabs} name="tab" chosen=${tab} tabs=${TABS} label="Views of the version" />
      <div id="tab-panel" role="tabpanel" aria-labelledby=${`tab-${tab}`} tabindex="-1" key=${`${tab} ${version.version}`}>
        ${tab === "samples" ? html`<${Samples} name=${dataset.name} version=${version} query=${query} />` : tab === "jobs" ? html`<${Jobs} name=${dataset.name} version=${version.version} />` : html`<${Report} name=${dataset.name} version=${version} isGroups=${tab === "duplicates"} />`}
      </div>`}
  `;
}

/** @param {{name: string, version: any, isGroups: boolean}} properties */
function Report({ name, version, isGroups }) {
  const path = `v1/datasets/${name}/versions/${version.version}`;
  const report = useResource(`${path}/report`);
  return html`<${Loaded} resource=${report}>
    ${(value) =>
      isGroups
        ? html`<div class="columns">
            <${Groups} title="In more than one split" groups=${value.leaks} hint="Such samples make validation look better than it is." />
            <${Groups} title="With different labels" groups=${value.label_conflicts} hint="At least one of the labels is wrong." />
            <${Groups} title="Equal samples" groups=${value.duplicates} hint="Each group has the same pixels or values." />
            ${value.near_duplicates && html`<${Groups} title="Nearly equal images" groups=${value.near_duplicates} hint="Each group looks the same to a perceptual hash." />`}
          </div>`
        : html`<div class="columns">
            <section class="card"><h2>Samples per class</h2><${ClassBars} splits=${value.splits} /></section>
            <section class="card">
              <h2>Import</h2>
              <${Facts} items=${[["Unreadable", value.num_unreadable], ["Ignored files", value.num_ignored], ["Too large", value.num_too_large], ["Equal groups", value.duplicates.num_groups], ["Leaks", value.leaks.num_groups], ["Label conflicts", value.label_conflicts.num_groups], ["Resized", value.resize], ["Mean", value.mean?.map((one) => formatNumber(one, 3)).join(", ") ?? null], ["Std", value.std?.map((one) => formatNumber(one, 3)).join(", ") ?? null]]} />
              ${value.unreadable.length > 0 && html`<h3>Unreadable files</h3><ul class="plain">${value.unreadable.slice(0, 20).map((one) => html`<li key=${one.name}><code>${one.name}</code> ${one.reason}</li>`)}</ul>`}
            </section>
            ${!version.table && html`<section class="card"><h2>Preview</h2><img class="preview" src=${`${path}/preview`} alt=${`Some images of each class of ${name}`} loading="lazy" /></section>`}
            ${value.columns && html`<section class="card"><h2>Columns</h2><div class="scroll"><table class="dense"><thead><tr><th scope="col">Name</th><th scope="col">Role</th><th scope="col" class="number">Missing</th><th scope="col" class="number">Categories</th></tr></thead><tbody>${value.columns.map((one) => html`<tr key=${one.name}><th scope="row">${one.name}</th><td>${one.role}${one.reason ? html` <span class="dim">${one.reason}</span>` : ""}</td><td class="number">${formatNumber(one.num_missing)}</td><td class="number">${one.num_categories || "–"}</td></tr>`)}</tbody></table></div></section>`}
          </div>`}
  <//>`;
}

/** @param {{splits: any}} properties */
function ClassBars({ splits }) {
  const names = [...new Set(Object.values(splits).flatMap((split) => Object.keys(split.classes)))];
  const count = (name) => Object.values(splits).reduce((sum, split) => sum + (split.classes[name] || 0), 0);
  const largest = Math.max(...names.map(count), 1);
  if (!names.length) return html`<p class="dim">The targets are numbers.</p>`;
  return html`<ul class="bars scroll" tabindex="0">
    ${names.map((name) => html`<li key=${name}><span class="clip">${name}</span><meter min="0" max=${largest} value=${count(name)} aria-label=${name}></meter><span class="number">${formatNumber(count(name))}</span></li>`)}
  </ul>`;
}

/** @param {{title: string, groups: any, hint: string}} properties */
function Groups({ title, groups, hint }) {
  return html`<section class="card">
    <h2>${title} <span class="dim">${groups.num_groups}</span></h2>
    <p class="dim">${hint}</p>
    <ul class="plain groups">${groups.items.slice(0, 50).map((group, index) => html`<li key=${index}>${group.map((one) => html`<code key=${`${one.split}/${one.name}`}>${one.split}/${one.name}</code>`)}</li>`)}</ul>
  </section>`;
}

/** @param {{name: string, version: any, query: URLSearchParams}} properties */
function Samples({ name, version, query }) {
  const splits = Object.keys(version.splits);
  const split = query.get("split") || splits[0];
  const className = query.get("class") || "";
  const path = `v1/datasets/${name}/versions/${version.version}/samples`;
  const samples = useResource(buildPath(path, { split, class: className, cursor: query.get("cursor"), limit: PAGE_SIZE }));
  const select = (key, values, chosen, label, all) => html`<label>${label} <select value=${chosen} onChange=${(event) => changeQuery({ [key]: event.target.value, cursor: null })}>${all && html`<option value="">${all}</option>`}${values.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}</select></label>`;
  return html`
    <div class="toolbar">${select("split", splits, split, "Split", null)} ${version.classes?.length > 0 && select("class", version.classes, className, "Class", "all")}</div>
    <${Loaded} resource=${samples}>
      ${(page) => html`
        ${version.table ? html`<${Rows} items=${page.items} columns=${version.table.columns} />` : html`<ul class="gallery">${page.items.map((one) => html`<li key=${one.index}><img src=${`${path}/${split}/${one.index}?size=96`} alt=${one.name} title=${one.name} loading="lazy" width="96" height="96" /><span class="clip">${one.labels.join(", ") || (one.targets || []).map((value) => formatNumber(value, 3)).join(", ")}</span></li>`)}</ul>`}
        ${page.items.length === 0 && html`<p class="dim">No sample matches.</p>`}
        <nav class="pager" aria-label="Pages">
          ${query.get("cursor") && html`<button type="button" onClick=${() => changeQuery({ cursor: null })}>First page</button>`}
          ${page.next_cursor && html`<button type="button" onClick=${() => changeQuery({ cursor: page.next_cursor })}>Next page</button>`}
        </nav>
      `}
    <//>
  `;
}

/** The rows of a table; of a window, its last row. @param {{items: any[], columns: any[]}} properties */
function Rows({ items, columns }) {
  return html`<div class="table-box" tabindex="0" role="region" aria-label="Table"><table class="dense"><thead><tr><th scope="col">Row</th>${columns.map((column) => html`<th scope="col" key=${column.name}>${column.name}</th>`)}<th scope="col">Target</th></tr></thead>
    <tbody>
      ${items.map((one) => html`<tr key=${one.index}><th scope="row">${one.name}</th>${columns.map((column) => html`<td key=${column.name}>${formatCell(one.rows?.at(-1)?.[column.name])}</td>`)}<td>${one.labels.join(", ") || (one.targets || []).map((value) => formatNumber(value)).join(", ")}</td></tr>`)}
    </tbody></table></div>`;
}

/** @param {unknown} value */
function formatCell(value) {
  return typeof value === "number" ? formatNumber(value) : value === null || value === undefined ? "–" : String(value);
}

/** @param {{name: string, version: number}} properties */
function Jobs({ name, version }) {
  const jobs = useResource(buildPath("v1/jobs", { dataset: name, limit: 50 }));
  return html`<${Loaded} resource=${jobs}>
    ${(page) => (page.items.length ? html`<ul class="plain">${page.items.map((job) => html`<li key=${job.id}><a href=${href(`/jobs/${job.id}`)}>${job.name}</a> <${StateBadge} state=${job.state} /> <span class="dim">${formatAge(job.created_at)}</span></li>`)}</ul><p><a class="button" href=${href("/jobs", { dataset: name })}>${formatCount(page.items.length, "job")} in the list</a></p>` : html`<p class="dim">No job uses ${name}@${version}.</p>`)}
  <//>`;
}
