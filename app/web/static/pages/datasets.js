// The datasets, and the upload of a new one.
import { html, useEffect, useRef, useState } from "../lib/preact.js";
import { buildPath, Problem, upload } from "../lib/api.js";
import { formatBytes, formatCount, formatNumber, formatPercent } from "../lib/format.js";
import { useResource } from "../lib/resource.js";
import { href, navigate } from "../lib/router.js";
import { zipFiles } from "../lib/zip.js";
import { StateBadge } from "../components/controls.js";
import { Loaded, ProblemNotice } from "../components/feedback.js";
import { Icon } from "../components/icon.js";

const MEDIA_TYPES = /** @type {Record<string, string>} */ ({ csv: "text/csv", tsv: "text/csv", zip: "application/zip", tar: "application/x-tar", gz: "application/gzip", tgz: "application/gzip" });

export default function DatasetsPage() {
  const datasets = useResource("v1/datasets?limit=200", { everyMs: 5000 });
  useEffect(() => {
    document.title = "Datasets · Candela";
  }, []);
  return html`
    <header class="page-head"><h1>Datasets</h1></header>
    <${Upload} />
    <${Loaded} resource=${datasets} lines=${8}>
      ${(page) => html`<div class="table-box" tabindex="0" role="region" aria-label="Table"><table>
        <thead><tr><th scope="col">Name</th><th scope="col">State</th><th scope="col" class="number">Samples</th><th scope="col" class="number">Classes</th><th scope="col">Shape</th><th scope="col" class="number">Versions</th><th scope="col">Description</th></tr></thead>
        <tbody>
          ${page.items.map((dataset) => {
            const newest = dataset.versions[0];
            return html`<tr key=${dataset.name}>
              <th scope="row"><a href=${href(`/datasets/${dataset.name}`)}>${dataset.name}</a></th>
              <td>${newest ? html`<${StateBadge} state=${newest.state} />` : html`<span class="dim">built in</span>`}</td>
              <td class="number">${formatNumber(newest?.num_samples)}</td><td class="number">${newest?.classes?.length || "–"}</td>
              <td>${newest?.image_shape ? newest.image_shape.join(" × ") : "–"}</td><td class="number">${dataset.versions.length}</td><td class="dim wrap">${dataset.description || dataset.summary || ""} ${dataset.tags.map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}</td>
            </tr>`;
          })}
        </tbody>
      </table></div>`}
    <//>
  `;
}

/** Uploads an archive, a table, or a folder that was dropped. */
function Upload() {
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
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
  const drop = async (event) => {
    event.preventDefault();
    setOver(false);
    const entry = event.dataTransfer?.items[0]?.webkitGetAsEntry?.();
    if (entry?.isDirectory) {
      const archive = await zipFiles(/** @type {FileSystemDirectoryEntry} */ (entry));
      setSource({ file: archive, name: `${entry.name}/`, type: "application/zip" });
      setName((current) => current || toName(entry.name));
    } else if (event.dataTransfer?.files[0]) choose(event.dataTransfer.files[0]);
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
