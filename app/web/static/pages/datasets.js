// The datasets and the upload of a new one; and one dataset: its versions, the report of the import, and its samples.
import { html, useEffect, useRef, useState } from "../lib/preact.js";
import { buildPath, Problem, request, upload } from "../lib/api.js";
import { formatAge, formatBytes, formatDuration, formatMetricName, formatNumber, formatPercent, formatTime, formatValue } from "../lib/format.js";
import { getDuration, listMetricNames } from "../lib/jobs.js";
import { useResource } from "../lib/resource.js";
import { changeQuery, href, navigate, readRoute } from "../lib/router.js";
import { zipFiles, zipList } from "../lib/zip.js";
import { Bars, Facts, Menu, PageHead, StateBadge, Table, Tabs } from "../components/controls.js";
import { attempt, EmptyState, Loaded, ProblemNotice, showToast } from "../components/feedback.js";
import { Icon } from "../components/icon.js";
import { DeleteButton, Description } from "../components/resource_actions.js";

const MEDIA_TYPES = /** @type {Record<string, string>} */ ({ csv: "text/csv", tsv: "text/csv", zip: "application/zip", tar: "application/x-tar", gz: "application/gzip", tgz: "application/gzip" });

export default function DatasetsPage() {
  const datasets = useResource("v1/datasets?limit=200", { everyMs: 5000 });
  return html`
    <${PageHead} title="Datasets" />
    <${Upload} />
    <${Loaded} resource=${datasets} lines=${8}>
      ${(page) => html`<${Table} label="Datasets" head=${["Name", "State", "Samples#", "Classes#", "Shape", "Versions#", "Description", ""]}
        rows=${[...page.items].sort((a, b) => Number(a.summary !== null) - Number(b.summary !== null)).map((dataset) => [dataset.name, listDatasetCells(dataset)])} />`}
    <//>
  `;
}

/** A dataset. The summary of a built-in one that was not imported yet names its figures. */
function listDatasetCells(dataset) {
  const { name, summary } = dataset;
  const newest = dataset.versions[0];
  const read = (pattern) => (summary || "").match(pattern)?.[1];
  const isReady = newest ? newest.state !== "failed" : /no download/.test(summary);
  return [
    html`<a href=${href(`/datasets/${name}`)}>${name}</a>`,
    newest ? html`<${StateBadge} state=${newest.state} />` : html`<span class="badge badge-quiet"><span class="dot dot-open"></span>${isReady ? "built in" : "needs its files"}</span>`,
    newest ? newest.num_samples : Number(read(/^([\d,]+) (?!classes)/)?.replaceAll(",", "")) || null,
    newest?.classes?.length || read(/(\d+) classes/),
    newest?.image_shape ? newest.image_shape.join(" × ") : read(/(\d+ x \d+)/)?.replace("x", "×"),
    dataset.versions.length,
    (summary || dataset.description || dataset.tags.length > 0) && html`<span class="dim wrap">${dataset.description || summary || ""} ${dataset.tags.map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}</span>`,
    isReady
      ? html`<a class="button" href=${href("/new", { dataset: name })}><${Icon} name="plus" /> Train on it</a>`
      : html`<a class="button" href=${href(`/datasets/${name}`)}>${newest ? "Show the failure" : html`<${Icon} name="upload" /> Add files…`}</a>`,
  ];
}

/** Uploads an archive, a table, or a folder that was dropped. */
function Upload() {
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const folder = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [isOver, setOver] = useState(false);
  const [source, setSource] = useState(/** @type {{file: Blob, name: string, type: string} | null} */ (null));
  const [name, setName] = useState("");
  const [target, setTarget] = useState("");
  const [share, setShare] = useState(/** @type {number | null} */ (null));
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const choose = (file) => {
    setSource({ file, name: file.name, type: MEDIA_TYPES[file.name.split(".").pop()?.toLowerCase() || ""] || "application/octet-stream" });
    setName((current) => current || toName(file.name));
  };
  const pack = (archive, title) => {
    setSource({ file: archive, name: `${title}/`, type: "application/zip" });
    setName((current) => current || toName(title));
  };
  const chooseFolder = async (files) => {
    if (files.length) pack(await zipList([...files].map((file) => ({ path: file.webkitRelativePath.split("/").slice(1).join("/"), file }))), files[0].webkitRelativePath.split("/")[0]);
  };
  const drop = async (event) => {
    event.preventDefault();
    setOver(false);
    const entry = event.dataTransfer?.items[0]?.webkitGetAsEntry?.();
    if (entry?.isDirectory) pack(await zipFiles(/** @type {FileSystemDirectoryEntry} */ (entry)), entry.name);
    else if (event.dataTransfer?.files[0]) choose(event.dataTransfer.files[0]);
  };
  const start = async (event) => {
    event.preventDefault();
    if (!source) return;
    setProblem(null);
    setShare(0);
    try {
      await upload(buildPath(`v1/datasets/${name}/versions`, { target }), source.file, source.type, setShare);
      if (readRoute().path === "/datasets") navigate(href(`/datasets/${name}`));
      else showToast(`Uploaded ${name}`);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setProblem(error);
      setShare(null);
    }
  };
  const isTable = source?.type === "text/csv";
  return html`<form class=${isOver ? "card upload drop-over" : "card upload"} onSubmit=${start} onDragOver=${(event) => {
    event.preventDefault();
    setOver(true);
  }} onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <div class="grow">
      <h2><${Icon} name="upload" /> Upload a dataset</h2>
      <p class="dim">Drop a folder with one folder per class, a zip, tar or tar.gz of it, or a CSV table.</p>
    </div>
    <button type="button" onClick=${() => input.current?.click()}>Choose a file</button>
    <button type="button" onClick=${() => folder.current?.click()}>Choose a folder</button>
    <input ref=${folder} type="file" webkitdirectory class="sr-only" tabindex="-1" aria-label="Folder" onChange=${(event) => attempt(() => chooseFolder(event.target.files))} />
    <input ref=${input} type="file" class="sr-only" tabindex="-1" aria-label="Archive or table" accept=".zip,.tar,.gz,.tgz,.csv,.tsv" onChange=${(event) => event.target.files[0] && choose(event.target.files[0])} />
    ${source &&
    html`<div class="upload-details">
      <span>${source.name} <span class="dim">${formatBytes(source.file.size)}</span></span>
      <label>Name <input required pattern="[a-z0-9][a-z0-9._\\-]*" maxlength="63" value=${name} onInput=${(event) => setName(event.target.value)} /></label>
      ${isTable && html`<label>Column to predict <input required value=${target} placeholder="species" onInput=${(event) => setTarget(event.target.value)} /></label>`}
      <button type="submit" class="primary" disabled=${share !== null}>${share === null ? "Upload" : `Uploading ${formatPercent(share, 0)}`}</button>
      ${share !== null && html`<progress max="1" value=${share} aria-label="Upload"></progress>`}
    </div>`}
    ${problem && html`<${ProblemNotice} problem=${problem} />`}
  </form>`;
}

/** @param {string} fileName */
function toName(fileName) {
  return fileName.replace(/\.(tar\.gz|[a-z0-9]+)$/i, "").toLowerCase().replace(/[^a-z0-9._-]+/g, "-").replace(/^[^a-z0-9]+/, "").slice(0, 63);
}

const TABS = /** @type {[string, string][]} */ ([["report", "Report"], ["samples", "Samples"], ["duplicates", "Duplicates and leaks"], ["jobs", "Used by"]]);
const PAGE_SIZE = 60;
const DELETED = "The files are deleted for good. Models that were trained on it remain.";
const PREVIEW = { classes: 10, samples: 12 };

export function DatasetPage({ name, query }) {
  const dataset = useResource(`v1/datasets/${name}`, { everyMs: 3000 });
  const versions = dataset.value?.versions || [];
  const version = versions.find((one) => String(one.version) === query.get("version")) || versions[0];
  const leave = () => navigate(href("/datasets"));
  return html`
    <${PageHead} title=${name} crumbs=${html`<a href=${href("/datasets")}>Datasets</a>`}>
      ${(version || /no download/.test(dataset.value?.summary)) && html`<a class="button primary" href=${href("/new", { dataset: name })}><${Icon} name="plus" /> Train on it</a>`}
      ${version && html`<${Menu} label="More">
        <${DeleteButton} label=${`Delete version ${version.version}`} name=${`${name}@${version.version}`} path=${`v1/datasets/${name}/versions/${version.version}`} onDeleted=${leave} listDependents=${() => listJobs(`${name}@${version.version}`)} note=${DELETED} />
        <${DeleteButton} label="Delete the dataset" name=${name} path=${`v1/datasets/${name}`} onDeleted=${leave} listDependents=${() => listJobs(name)} note=${`All its versions are deleted. ${DELETED}`} />
      <//>`}
    <//>
    <${Loaded} resource=${dataset}>
      ${(value) =>
        value.versions.length === 0
          ? html`<${NotImported} name=${name} summary=${value.summary} />`
          : html`<${Description} path=${`v1/datasets/${name}`} value=${value} onChange=${dataset.refresh} /><${Version} dataset=${value} version=${version} query=${query} onChange=${dataset.refresh} />`}
    <//>
  `;
}

/** The jobs that use a dataset or a version, such as `pets@2`. @param {string} dataset */
async function listJobs(dataset) {
  const page = await request(buildPath("v1/jobs", { dataset, limit: 20 }));
  return page.items.map((job) => ({ text: `the job ${job.name} (${job.state})`, href: href(`/jobs/${job.id}`) }));
}

/** A built-in dataset that no job has used. The check of a job names the files that it lacks. */
function NotImported({ name, summary }) {
  const [reason, setReason] = useState("");
  useEffect(() => {
    const json = { dataset: { name }, architecture: { name: "mlp" }, epochs: 1 };
    request("v1/jobs?dry_run=true", { method: "POST", json }).catch((error) => setReason(error.errors?.find((one) => one.pointer.startsWith("/dataset"))?.detail || ""));
  }, [name]);
  return html`<${EmptyState} icon="datasets" title="Not imported yet"><p>${summary}</p><p>${reason || "The first job that uses this built-in dataset imports it."}</p><//>`;
}

function Version({ dataset, version, query, onChange }) {
  const tab = query.get("tab") || "report";
  const splits = Object.entries(version.splits || {});
  return html`
    <div class="toolbar">
      <label>Version <select value=${String(version.version)} onChange=${(event) => changeQuery({ version: event.target.value, cursor: null })}>${dataset.versions.map((one) => html`<option key=${one.version} value=${String(one.version)}>${one.version}</option>`)}</select></label>
      <${StateBadge} state=${version.state} /> <span class="dim" title=${formatTime(version.created_at)}>${version.state === "ready" ? "imported" : "started"} ${formatAge(version.created_at)}</span>
      <${Description} path=${`v1/datasets/${dataset.name}/versions/${version.version}`} value=${version} onChange=${onChange} what="this version" />
    </div>
    ${version.failure && html`<div class="notice notice-bad" role="alert"><${Icon} name="warning" /><div><strong>${version.failure.message}</strong><p>${version.failure.hint}</p></div></div>`}
    ${version.warnings.map((text) => html`<div class="notice notice-warn" key=${text}><${Icon} name="warning" /><div>${text}</div></div>`)}
    <${Facts}
      items=${[
        ["Task", version.task],
        ["Samples", version.num_samples === null ? null : `${formatNumber(version.num_samples)}${splits.length === 1 ? `, all in ${splits[0][0]}` : splits.length ? `: ${splits.map(([split, count]) => `${formatNumber(count)} ${split}`).join(", ")}` : ""}`],
        ["Shape", version.image_shape?.join(" × ") ?? null],
        ["Classes", version.classes?.length || null],
        ["Columns", version.table?.columns.map((column) => column.name).join(", ") ?? null],
        ["Targets", version.table?.targets.join(", ") ?? null],
      ]}
    />
    ${version.state === "importing" && html`<p class="dim">The samples are shown when the import has ended.</p>`}
    ${version.state === "ready" &&
    html`<${Tabs} name="tab" chosen=${tab} tabs=${TABS} label="Views of the version" />
      <div id="tab-panel" role="tabpanel" aria-labelledby=${`tab-${tab}`} tabindex="-1" key=${`${tab} ${version.version}`}>
        ${tab === "samples" ? html`<${Samples} name=${dataset.name} version=${version} query=${query} />` : tab === "jobs" ? html`<${Jobs} name=${dataset.name} version=${version.version} />` : html`<${Report} name=${dataset.name} version=${version} isGroups=${tab === "duplicates"} />`}
      </div>`}
  `;
}

function Report({ name, version, isGroups }) {
  const path = `v1/datasets/${name}/versions/${version.version}`;
  const report = useResource(`${path}/report`);
  return html`<${Loaded} resource=${report}>
    ${(value) =>
      isGroups
        ? html`<${Duplicates} report=${value} />`
        : html`<div class="evaluation">
            ${value.columns
              ? html`<${Table} class="dense" label="Columns" head=${["Column", "Role", "Missing#", "Categories#"]} rows=${value.columns.map((one) => [one.name, [one.name, html`${one.role} <span class="dim">${one.reason}</span>`, one.num_missing, one.num_categories || null]])} />`
              : html`<section class="card"><h2>Preview</h2><${Preview} path=${`${path}/samples`} version=${version} /></section>`}
            <div class="stack">
              <section class="card"><h2>Samples per class</h2><${ClassBars} splits=${value.splits} /></section>
              <section class="card">
                <h2>Import</h2>
                <${Facts} items=${[["Unreadable", value.num_unreadable], ["Ignored files", value.num_ignored], ["Too large", value.num_too_large], ["Resizing", value.resize], ["Mean of pixels", value.mean?.map((one) => formatNumber(one, 3)).join(", ") ?? null], ["Standard deviation", value.std?.map((one) => formatNumber(one, 3)).join(", ") ?? null]]} />
                ${value.mean && html`<p class="dim after">Trainings normalize pixels, from 0 to 1, with the mean and the standard deviation.</p>`}
                ${value.unreadable.length > 0 && html`<h3>Unreadable files</h3><ul class="plain">${value.unreadable.slice(0, 20).map((one) => html`<li key=${one.name}><code>${one.name}</code> ${one.reason}</li>`)}</ul>`}
              </section>
            </div>
          </div>`}
  <//>`;
}

/** A row of images for each class. */
function Preview({ path, version }) {
  const classes = version.classes?.length ? version.classes.slice(0, PREVIEW.classes) : [""];
  return html`<div class="preview-rows">${classes.map((name) => html`<${PreviewRow} key=${name} path=${path} name=${name} />`)}</div>
    ${version.classes?.length > classes.length && html`<p class="dim">The first ${classes.length} of ${version.classes.length} classes. <a href=${href(location.hash.slice(1).split("?")[0], { tab: "samples" })}>See all samples</a></p>`}`;
}

function PreviewRow({ path, name }) {
  const samples = useResource(buildPath(path, { class: name, limit: PREVIEW.samples })).value?.items || [];
  return html`<button type="button" class="bare" aria-label=${`Samples of ${name || "the dataset"}`} onClick=${() => changeQuery({ tab: "samples", class: name })}>
    <span class="clip">${name}</span>${samples.map((one) => html`<img key=${one.index} src=${`${path}/${one.split}/${one.index}?size=40`} alt="" loading="lazy" width="40" height="40" />`)}
  </button>`;
}

function ClassBars({ splits }) {
  const names = [...new Set(Object.values(splits).flatMap((split) => Object.keys(split.classes)))];
  const count = (name) => Object.values(splits).reduce((sum, split) => sum + (split.classes[name] || 0), 0);
  const largest = Math.max(...names.map(count), 1);
  if (!names.length) return html`<p class="dim">The targets are numbers.</p>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Samples per class"><${Bars} hint="Show its samples" items=${names.map((name) => ({ key: name, label: name, share: count(name) / largest, text: formatNumber(count(name)), action: () => changeQuery({ tab: "samples", class: name }) }))} /></div>`;
}

/** The groups of equal samples: what was found, and what does not apply. */
function Duplicates({ report }) {
  const kinds = /** @type {[string, any, string][]} */ ([
    ["In more than one split", report.leaks, "Such samples make validation look better than it is."],
    ["With different labels", report.label_conflicts, "At least one of the labels is wrong."],
    ["Equal samples", report.duplicates, "Each group has the same pixels or values."],
    ["Nearly equal images", report.near_duplicates, "Each group looks the same to a perceptual hash."],
    ["Nearly equal, in more than one split", report.near_leaks, "Random splits keep such groups together; given splits do not."],
  ]);
  const found = kinds.filter(([, groups]) => groups?.num_groups);
  return html`
    ${found.length === 0 && html`<p class="badge badge-good"><${Icon} name="check" /> No duplicates, leaks or conflicting labels were found.</p>`}
    <${Table} class="checks" label="Checks" head=${["Check", "Groups#"]} rows=${kinds.map(([title, groups, hint]) => [title, [html`${title}<br /><span class="dim">${hint}</span>`, groups ? groups.num_groups : html`<span class="dim">does not apply</span>`]])} />
    <div class="columns">${found.map(([title, groups]) => html`<section class="card" key=${title}><h2>${title} <span class="dim">${groups.num_groups}</span></h2>
      <ul class="plain groups">${groups.items.slice(0, 50).map((group, index) => html`<li key=${index}>${group.map((one) => html`<code key=${`${one.split}/${one.name}`}>${one.split}/${one.name}</code>`)}</li>`)}</ul></section>`)}</div>
  `;
}

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
          <span class="dim grow">${formatRange(page, split, className ? null : version.splits[split])}</span>
          ${query.get("cursor") && html`<button type="button" onClick=${() => changeQuery({ cursor: null })}>First page</button>`}
          ${page.next_cursor && html`<button type="button" onClick=${() => changeQuery({ cursor: page.next_cursor })}>Next page</button>`}
        </nav>
      `}
    <//>
  `;
}

/** Which samples a page has, such as 1–60 of 1,797. @param {any} page @param {string} split @param {number | null} total of all classes */
function formatRange(page, split, total) {
  if (!page.items.length) return "";
  const [first, last] = [page.items[0].index + 1, page.items[page.items.length - 1].index + 1];
  return total === null ? `${page.items.length} samples, numbers ${first} to ${last} of ${split}` : `${formatNumber(first)}–${formatNumber(last)} of ${formatNumber(total)}`;
}

/** The rows of a table; of a window, its last row. */
function Rows({ items, columns }) {
  return html`<${Table} class="grid" label="Rows" head=${["Row", ...columns.map((column) => column.name), "Target"]}
    rows=${items.map((one) => [one.index, [one.name, ...columns.map((column) => formatValue(one.rows?.at(-1)?.[column.name])), one.labels.join(", ") || (one.targets || []).map((value) => formatNumber(value)).join(", ")]])} />`;
}

/** The jobs that use a version. */
function Jobs({ name, version }) {
  const jobs = useResource(buildPath("v1/jobs", { dataset: `${name}@${version}`, limit: 50 }));
  return html`<${Loaded} resource=${jobs}>
    ${(page) => {
      if (!page.items.length) return html`<p class="dim">No job uses ${name}@${version}.</p>`;
      const names = listMetricNames(page.items).filter((metric) => metric.startsWith("valid_")).slice(0, 2);
      return html`<${Table} label="Jobs" head=${["Job", "State", "Model", ...names.map((metric) => `${formatMetricName(metric)} · best#`), "Duration#", "Created#"]}
          rows=${page.items.map((job) => [
            job.id,
            [
              html`<a href=${href(`/jobs/${job.id}`)}>${job.name}</a>`,
              html`<${StateBadge} state=${job.state} />`,
              job.model && html`<a href=${href(`/models/${job.model.name}`, { version: job.model.version })}>${job.model.name}@${job.model.version}</a>`,
              ...names.map((metric) => job.best_values[metric]?.value),
              formatDuration(getDuration(job)),
              html`<span class="dim">${formatAge(job.created_at)}</span>`,
            ],
          ])} />
        <p><a href=${href("/jobs", { dataset: `${name}@${version}` })}>Show them in the list of jobs</a></p>`;
    }}
  <//>`;
}
