// Predicts a row, or an image that was dropped, pasted or taken with the camera, and explains the prediction.
import { html, useEffect, useRef, useState } from "../lib/preact.js";
import { buildPath, Problem, request, send } from "../lib/api.js";
import { formatNumber, formatPercent } from "../lib/format.js";
import { useResource } from "../lib/resource.js";
import { changeQuery, href } from "../lib/router.js";
import { Bars, CodeBlock, PageHead, StackedBar } from "../components/controls.js";
import { EmptyState, Loaded, ProblemNotice } from "../components/feedback.js";
import { HeatmapOverlay, useObjectUrl } from "../components/heatmap_overlay.js";
import { Icon } from "../components/icon.js";

const TOP_K = 5;
const NUM_SAMPLES = 8;
/** The parts of a prediction: the name in the statistics of `/v2`, and the text. */
const PARTS = [["queue", "queue"], ["compute_input", "decode"], ["compute_infer", "compute"]];

export default function PredictPage({ query }) {
  const models = useResource("v1/models?limit=200");
  const job = query.get("job");
  return html`
    <${PageHead} title="Try it" />
    ${job
      ? html`<${CheckpointTrial} job=${job} checkpoint=${query.get("checkpoint") || "latest"} />`
      : html`<${Loaded} resource=${models}>
          ${(page) =>
            page.items.length === 0
              ? html`<${EmptyState} icon="predict" title="No model to try"><p>Train one first: the digits demo takes less than a minute.</p><p><a class="button primary" href=${href("/jobs")}>Go to the jobs</a></p><//>`
              : html`<${ModelTrial} models=${page.items} query=${query} />`}
        <//>`}
  `;
}

function ModelTrial({ models, query }) {
  const [wanted, reference = query.get("version")] = (query.get("model") || "").split("@");
  const model = models.find((one) => one.name === wanted) || models[0];
  const choices = [...Object.keys(model.aliases), ...model.versions.map((version) => String(version.version))];
  const version = reference && (choices.includes(reference) || /^[1-9]\d*$/.test(reference)) ? reference : String(model.versions[0].version);
  const number = model.aliases[version] || Number(version);
  const details = useResource(`v1/models/${model.name}/versions/${number}`);
  const variant = query.get("variant") || "";
  const hasChosen = (details.value?.variants || []).some((one) => one.chosen_by); // the server may serve it by default
  const ref = `${model.name}@${version}`;
  const option = (name, text) => html`<option key=${name} value=${name}>${text}</option>`;
  return html`
    <div class="toolbar">
      <label>Model <select value=${ref} onChange=${(event) => changeQuery({ model: event.target.value, version: null, variant: null })}>
        ${models.map((one) => html`<optgroup key=${one.name} label=${one.name}>
          ${Object.entries(one.aliases).map(([alias, target]) => option(`${one.name}@${alias}`, `${one.name}@${alias} → ${target}`))}
          ${one.versions.map((each) => option(`${one.name}@${each.version}`, `${one.name}@${each.version}`))}
          ${one === model && !choices.includes(version) && option(ref, ref)}
        </optgroup>`)}
      </select></label>
      <label>Variant <select value=${variant} onChange=${(event) => changeQuery({ variant: event.target.value })}>
        ${hasChosen ? [option("", "default"), option("none", "as trained")] : option("", "as trained")} ${(details.value?.variants || []).filter((one) => one.format !== "torch-export").map((one) => option(one.format, one.format))}
      </select></label>
    </div>
    <${Loaded} resource=${details}>
      ${(value) => {
        const path = `v1/models/${ref}/predict${variant ? `?variant=${variant}` : ""}`;
        if (value.input.table) return html`<${RowForm} key=${ref} table=${value.input.table} path=${path} />`;
        return html`<${Trial} key=${path} path=${path} explainPath=${value.classes.length && (!variant || variant === "none") ? `v1/models/${ref}/explain` : null} version=${value} statisticsPath=${variant ? null : `v2/models/${model.name}/versions/${number}/stats`} />`;
      }}
    <//>
  `;
}

function CheckpointTrial({ job, checkpoint }) {
  return html`
    <p>Predicts with checkpoint ${checkpoint} of <a href=${href(`/jobs/${job}`, { tab: "checkpoints" })}>job ${job.slice(0, 8)}</a>.</p>
    <${Trial} path=${`v1/jobs/${job}/predict?checkpoint=${checkpoint}`} />
  `;
}

/** @typedef {{value: any, parts: [string, number][], problem: Problem | null}} Outcome parts: their names and milliseconds */

/** @param {{path: string, explainPath?: string | null, version?: any, statisticsPath?: string | null}} properties */
function Trial({ path, explainPath = null, version = null, statisticsPath = null }) {
  const [file, setFile] = useState(/** @type {Blob | null} */ (null));
  const [outcome, setOutcome] = useState(/** @type {Outcome | null} */ (null));
  const [label, setLabel] = useState(/** @type {string | null} */ (null));
  const predict = async (image) => {
    setFile(image);
    setLabel(null);
    try {
      const before = await readStatistics(statisticsPath);
      const started = performance.now();
      const value = await request(path, { method: "POST", body: image, headers: { "Content-Type": image.type || "application/octet-stream" } });
      const total = performance.now() - started;
      setOutcome({ value, parts: splitTime(total, before, await readStatistics(statisticsPath)), problem: null });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setOutcome({ value: null, parts: [], problem: error });
    }
  };
  const clear = () => {
    setFile(null);
    setOutcome(null);
  };
  usePastedImage(predict);
  const shape = version?.input.image_shape;
  const prediction = outcome?.value?.predictions[0];
  const explained = label ?? prediction?.label;
  return html`
    <div class="trial">
      <section class="card">
        <header class="section-head"><h2>Image</h2>${file && html`<button type="button" class="bare" onClick=${clear}><${Icon} name="close" /> Clear</button>`}</header>
        <${ImageInput} file=${file} onFile=${predict} />
        ${shape && html`<p class="dim">The model takes ${shape[2]} × ${shape[1]} pixels with ${shape[0] === 1 ? "one channel" : `${shape[0]} channels`}; other images are resized.</p>`}
        ${version?.dataset && html`<${Samples} dataset=${version.dataset} onFile=${predict} />`}
      </section>
      <section class="card" aria-live="polite">
        <h2>Prediction</h2>
        ${!outcome && html`<p class="dim">The most probable classes of the image${version?.dataset ? ". Try one of the samples" : ""}.</p>`}
        ${outcome?.problem && html`<${ProblemNotice} problem=${outcome.problem} />`}
        ${prediction && html`<${Prediction} prediction=${prediction} onChoose=${explainPath && setLabel} /><${Timing} parts=${outcome?.parts || []} />`}
      </section>
      ${explainPath && html`<section class="card"><h2>Why${file && explained !== undefined ? ` ${explained}` : ""}? <span class="dim">Grad-CAM</span></h2>
        ${file && explained !== undefined ? html`<${HeatmapOverlay} image=${file} explainPath=${buildPath(explainPath, { label })} />` : html`<p class="dim">The regions of the image that support the class, as a heatmap.</p>`}
      </section>`}
    </div>
    <${CallExamples} path=${path} />
  `;
}

/** The counters of a model version, which the difference of two reads splits. @param {string | null} path */
async function readStatistics(path) {
  if (!path) return null;
  try {
    return (await request(path)).model_stats[0].inference_stats;
  } catch (error) {
    if (error instanceof Problem) return null;
    throw error;
  }
}

/** @param {number} total milliseconds @param {any} before @param {any} after @returns {[string, number][]} */
function splitTime(total, before, after) {
  const parts = /** @type {[string, number][]} */ (PARTS.map(([key, text]) => [text, before && after && after[key].count > before[key].count ? (after[key].ns - before[key].ns) / (after[key].count - before[key].count) / 1e6 : 0]));
  const known = parts.reduce((sum, [, part]) => sum + part, 0);
  return known > 0 && known <= total ? [...parts, ["network and API", total - known]] : [["the whole request", total]];
}

/** Where the time of a request went. */
function Timing({ parts }) {
  const total = parts.reduce((sum, [, part]) => sum + part, 0);
  return html`<h3>Time <span class="dim">${total.toFixed(0)} ms</span></h3>
    <${StackedBar} parts=${parts.map(([name, part]) => [name, part, `${part < 10 ? part.toFixed(1) : part.toFixed(0)} ms`])} />`;
}

/** Images of the model's dataset. */
function Samples({ dataset, onFile }) {
  const path = `v1/datasets/${dataset.name}/versions/${dataset.version}/samples`;
  const samples = useResource(buildPath(path, { limit: NUM_SAMPLES })).value?.items;
  if (!samples?.length) return null;
  const choose = async (one) => onFile(await (await send(`${path}/${one.split}/${one.index}`, { headers: { Accept: "image/png" } })).blob());
  return html`<h3>Or a sample of ${dataset.name}@${dataset.version}</h3>
    <div class="try-samples">${samples.map((one) => html`<button type="button" class="thumb" key=${one.index} aria-label=${`Predict sample ${one.name}, ${one.labels.join(", ")}`} onClick=${() => choose(one)}><img src=${`${path}/${one.split}/${one.index}?size=48`} alt="" width="48" height="48" /></button>`)}</div>`;
}

function Prediction({ prediction, onChoose }) {
  if (prediction.error) return html`<p role="alert">${prediction.error.detail}</p>`;
  if (prediction.values) return html`<ul class="plain">${prediction.values.map((value, index) => html`<li key=${index}><b>${formatNumber(value)}</b></li>`)}</ul>`;
  return html`<p class="verdict">${prediction.label}</p>
    <${Bars} hint="Explain this class" items=${prediction.top_k.slice(0, TOP_K).map((one) => ({ key: one.index, label: one.label, share: one.probability, text: formatPercent(one.probability), action: onChoose && (() => onChoose(one.label)) }))} />`;
}

function ImageInput({ file, onFile }) {
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [isOver, setOver] = useState(false);
  const [isCameraOpen, setCameraOpen] = useState(false);
  const address = useObjectUrl(file);
  const accept = (files) => files?.[0] && onFile(files[0]);
  return html`
    <button
      type="button"
      class=${isOver ? "drop drop-over" : "drop"}
      onClick=${() => input.current?.click()}
      onDragOver=${(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave=${() => setOver(false)}
      onDrop=${(event) => {
        event.preventDefault();
        setOver(false);
        accept(event.dataTransfer?.files);
      }}
    >
      ${address ? html`<img src=${address} alt="The image to predict. Choose another file" />` : html`<span><${Icon} name="upload" /> Drop or paste an image, or choose a file</span>`}
    </button>
    ${navigator.mediaDevices && html`<button type="button" aria-pressed=${String(isCameraOpen)} onClick=${() => setCameraOpen(!isCameraOpen)}><${Icon} name="camera" /> Camera</button>`}
    <input ref=${input} type="file" accept="image/*" class="sr-only" tabindex="-1" aria-label="Image file" onChange=${(event) => accept(event.target.files)} />
    ${isCameraOpen && html`<${Camera} onFile=${onFile} />`}
  `;
}

function Camera({ onFile }) {
  const video = useRef(/** @type {HTMLVideoElement | null} */ (null));
  const [failure, setFailure] = useState("");
  useEffect(() => {
    /** @type {MediaStream | null} */
    let stream = null;
    navigator.mediaDevices.getUserMedia({ video: true }).then(
      (opened) => {
        stream = opened;
        if (video.current) video.current.srcObject = opened;
        else opened.getTracks().forEach((track) => track.stop());
      },
      (error) => setFailure(`The camera cannot be used: ${error.message}`),
    );
    return () => stream?.getTracks().forEach((track) => track.stop());
  }, []);
  const take = () => {
    const source = /** @type {HTMLVideoElement} */ (video.current);
    const canvas = document.createElement("canvas");
    canvas.width = source.videoWidth;
    canvas.height = source.videoHeight;
    canvas.getContext("2d")?.drawImage(source, 0, 0);
    canvas.toBlob((blob) => blob && onFile(blob), "image/png");
  };
  if (failure) return html`<p role="alert">${failure}</p>`;
  return html`<div class="camera"><video ref=${video} autoplay playsinline muted aria-label="Camera"></video><button type="button" onClick=${take}>Take a photo</button></div>`;
}

/** @param {(file: Blob) => void} onFile */
function usePastedImage(onFile) {
  const current = useRef(onFile);
  current.current = onFile;
  useEffect(() => {
    const paste = (event) => {
      const file = [...(event.clipboardData?.files || [])].find((one) => one.type.startsWith("image/"));
      if (file) current.current(file);
    };
    addEventListener("paste", paste);
    return () => removeEventListener("paste", paste);
  }, []);
}

function CallExamples({ path }) {
  const ref = /models\/([^/]+)\//.exec(path)?.[1];
  const blocks = [["curl", `curl -s '${location.origin}/${path}' \\\n  -H 'Content-Type: image/png' --data-binary @image.png`]];
  if (ref) blocks.push(["Python", `from candela import Client\n\nwith Client("${location.origin}") as client:\n    print(client.models.predict("${ref}", "image.png"))`]);
  return html`<${CodeBlock} blocks=${blocks} />`;
}

function RowForm({ table, path }) {
  const [row, setRow] = useState(/** @type {Record<string, string>} */ ({}));
  const [outcome, setOutcome] = useState(/** @type {any} */ (null));
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  if (table.window) return html`<p class="dim">This model predicts from windows of ${table.window} rows. Use the API: see its reference under API.</p>`;
  const predict = async (event) => {
    event.preventDefault();
    setProblem(null);
    const values = Object.fromEntries(table.columns.map((column) => [column.name, toCell(column, row[column.name])]));
    try {
      setOutcome((await request(path, { method: "POST", json: { rows: [values] } })).predictions[0]);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setProblem(error);
    }
  };
  const change = (name) => (event) => setRow({ ...row, [name]: event.target.value });
  return html`<div class="trial">
    <form class="card fields" onSubmit=${predict}>
      <h2>Row</h2>
      ${table.columns.map(
        (column) => html`<label class="field" key=${column.name}>${column.name}
          ${column.categories
            ? html`<select value=${row[column.name] || ""} onChange=${change(column.name)}><option value="">missing</option>${column.categories.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}</select>`
            : html`<input inputmode="decimal" placeholder="missing" value=${row[column.name] || ""} onInput=${change(column.name)} />`}
        </label>`,
      )}
      <button type="submit" class="primary">Predict</button>
    </form>
    <section class="card" aria-live="polite">
      <h2>Prediction</h2>
      ${problem && html`<${ProblemNotice} problem=${problem} />`}
      ${outcome?.values && html`<ul class="plain">${outcome.values.map((value, index) => html`<li key=${index}>${table.targets[index]}: <b>${formatNumber(value)}</b></li>`)}</ul>`}
      ${outcome?.top_k && html`<p class="verdict">${outcome.label}</p><${Bars} items=${outcome.top_k.map((one) => ({ key: one.index, label: one.label, share: one.probability, text: formatPercent(one.probability) }))} />`}
      ${!outcome && !problem && html`<p class="dim">Fill in the row. Empty fields are missing values.</p>`}
    </section>
  </div>`;
}

/** @param {any} column @param {string | undefined} text */
function toCell(column, text) {
  if (text === undefined || text === "") return null;
  const number = Number(text.replace(",", "."));
  return column.categories || Number.isNaN(number) ? text : number;
}
