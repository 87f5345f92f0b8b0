// The datasets, and the upload of a new one.
import { html, useRef, useState } from "../lib/preact.js";
import { buildPath, Problem, upload } from "../lib/api.js";
import { formatBytes, formatPercent } from "../lib/format.js";
import { useResource } from "../lib/resource.js";
import { href, navigate } from "../lib/router.js";
import { zipFiles, zipList } from "../lib/zip.js";
import { PageHead, StateBadge, Table } from "../components/controls.js";
import { attempt, Loaded, ProblemNotice } from "../components/feedback.js";
import { Icon } from "../components/icon.js";

const MEDIA_TYPES = /** @type {Record<string, string>} */ ({ csv: "text/csv", tsv: "text/csv", zip: "application/zip", tar: "application/x-tar", gz: "application/gzip", tgz: "application/gzip" });

export default function DatasetsPage() {
  const datasets = useResource("v1/datasets?limit=200", { everyMs: 5000 });
  return html`
    <${PageHead} title="Datasets" />
    <${Upload} />
    <${Loaded} resource=${datasets} lines=${8}>
      ${(page) => html`<${Table} label="Datasets" head=${["Name", "State", "Samples#", "Classes#", "Shape", "Versions#", "Description", ""]}
        rows=${[...page.items].sort((a, b) => Number(a.summary !== null) - Number(b.summary !== null)).map((dataset) => [dataset.name, listCells(dataset)])} />`}
    <//>
  `;
}

/** A dataset. The summary of a built-in one that was not imported yet names its figures. */
function listCells(dataset) {
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
      navigate(href(`/datasets/${name}`));
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
