// Predicts an image that was dropped, pasted or taken with the camera, and explains the prediction.
import { html, useEffect, useRef, useState } from "../lib/preact.js";
import { Problem, request } from "../lib/api.js";
import { formatNumber, formatPercent } from "../lib/format.js";
import { useResource } from "../lib/resource.js";
import { changeQuery, href } from "../lib/router.js";
import { CodeBlock } from "../components/controls.js";
import { EmptyState, Loaded, ProblemNotice } from "../components/feedback.js";
import { HeatmapOverlay, useObjectUrl } from "../components/heatmap_overlay.js";
import { Icon } from "../components/icon.js";
import { RowForm } from "../components/row_form.js";

const TOP_K = 5;

/** @param {{query: URLSearchParams}} properties */
export default function PredictPage({ query }) {
  const models = useResource("v1/models?limit=200");
  useEffect(() => {
    document.title = "Try it · Candela";
  }, []);
  const job = query.get("job");
  return html`
    <header class="page-head"><h1>Try it</h1></header>
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

/** @param {{models: any[], query: URLSearchParams}} properties */
function ModelTrial({ models, query }) {
  const model = models.find((one) => one.name === query.get("model")) || models[0];
  const versions = [...model.versions.map((version) => String(version.version)), ...Object.keys(model.aliases)];
  const version = versions.includes(query.get("version") || "") ? /** @type {string} */ (query.get("version")) : String(model.versions[0].version);
  const number = model.aliases[version] || Number(version);
  const details = useResource(`v1/models/${model.name}/versions/${number}`);
  const variant = query.get("variant") || "";
  return html`
    <div class="toolbar">
      <label>Model <select value=${model.name} onChange=${(event) => changeQuery({ model: event.target.value, version: null, variant: null })}>${models.map((one) => html`<option key=${one.name} value=${one.name}>${one.name}</option>`)}</select></label>
      <label>Version <select value=${version} onChange=${(event) => changeQuery({ version: event.target.value, variant: null })}>${versions.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}</select></label>
      <label>Variant <select value=${variant} onChange=${(event) => changeQuery({ variant: event.target.value })}>
        <option value="">as trained</option>
        ${(details.value?.variants || []).filter((one) => one.format !== "torch-export").map((one) => html`<option key=${one.format} value=${one.format}>${one.format}</option>`)}
      </select></label>
    </div>
    <${Loaded} resource=${details}>
      ${(value) => {
        const ref = `${model.name}@${version}`;
        const path = `v1/models/${ref}/predict${variant ? `?variant=${variant}` : ""}`;
        if (value.input.table) return html`<${RowForm} key=${ref} table=${value.input.table} path=${path} />`;
        return html`<${Trial} key=${path} path=${path} explainPath=${value.classes.length && !variant ? `v1/models/${ref}/explain` : null} shape=${value.input.image_shape} />`;
      }}
    <//>
  `;
}

/** @param {{job: string, checkpoint: string}} properties */
function CheckpointTrial({ job, checkpoint }) {
  return html`
    <p>Predicts with checkpoint ${checkpoint} of <a href=${href(`/jobs/${job}`, { tab: "checkpoints" })}>job ${job.slice(0, 8)}</a>.</p>
    <${Trial} path=${`v1/jobs/${job}/predict?checkpoint=${checkpoint}`} explainPath=${null} shape=${null} />
  `;
}

/** @typedef {{value: any, milliseconds: number, problem: Problem | null}} Outcome */

/** @param {{path: string, explainPath: string | null, shape: number[] | null}} properties */
function Trial({ path, explainPath, shape }) {
  const [file, setFile] = useState(/** @type {Blob | null} */ (null));
  const [outcome, setOutcome] = useState(/** @type {Outcome | null} */ (null));
  const predict = async (image) => {
    setFile(image);
    const started = performance.now();
    try {
      const value = await request(path, { method: "POST", body: image, headers: { "Content-Type": image.type || "application/octet-stream" } });
      setOutcome({ value, milliseconds: performance.now() - started, problem: null });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setOutcome({ value: null, milliseconds: 0, problem: error });
    }
  };
  usePastedImage(predict);
  return html`
    <div class="trial">
      <section class="card"><h2>Image</h2><${ImageInput} file=${file} onFile=${predict} />${shape && html`<p class="dim">The model takes ${shape[2]} × ${shape[1]} pixels with ${shape[0] === 1 ? "one channel" : `${shape[0]} channels`}; other images are resized.</p>`}</section>
      <section class="card" aria-live="polite">
        <h2>Prediction</h2>
        ${!outcome && html`<p class="dim">Drop an image, paste one, choose a file or use the camera.</p>`}
        ${outcome?.problem && html`<${ProblemNotice} problem=${outcome.problem} />`}
        ${outcome?.value && html`<${Prediction} prediction=${outcome.value.predictions[0]} /><p class="dim">Answered in ${outcome.milliseconds.toFixed(0)} ms, the way through the browser included.</p>`}
      </section>
      ${explainPath && file && outcome?.value && html`<section class="card"><h2>What the network looks at</h2><${HeatmapOverlay} image=${file} explainPath=${explainPath} /></section>`}
    </div>
    <${CallExamples} path=${path} />
  `;
}

/** @param {{prediction: any}} properties */
function Prediction({ prediction }) {
  if (prediction.error) return html`<p role="alert">${prediction.error.detail}</p>`;
  if (prediction.values) return html`<ul class="plain">${prediction.values.map((value, index) => html`<li key=${index}><b>${formatNumber(value)}</b></li>`)}</ul>`;
  return html`<p class="verdict">${prediction.label}</p>
    <ul class="bars">
      ${prediction.top_k.slice(0, TOP_K).map((one) => html`<li key=${one.index}><span class="clip">${one.label}</span><meter min="0" max="1" value=${one.probability} aria-label=${one.label}></meter><span class="number">${formatPercent(one.probability)}</span></li>`)}
    </ul>`;
}

/** @param {{file: Blob | null, onFile: (file: Blob) => void}} properties */
export function ImageInput({ file, onFile }) {
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [isOver, setOver] = useState(false);
  const [isCameraOpen, setCameraOpen] = useState(false);
  const address = useObjectUrl(file);
  const accept = (files) => files?.[0] && onFile(files[0]);
  return html`
    <div
      class=${isOver ? "drop drop-over" : "drop"}
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
      ${address ? html`<img src=${address} alt="The image to predict" />` : html`<p><${Icon} name="upload" /> Drop or paste an image</p>`}
    </div>
    <p class="actions">
      <button type="button" onClick=${() => input.current?.click()}><${Icon} name="upload" /> Choose a file</button>
      ${navigator.mediaDevices && html`<button type="button" aria-pressed=${isCameraOpen ? "true" : "false"} onClick=${() => setCameraOpen(!isCameraOpen)}><${Icon} name="camera" /> Camera</button>`}
      <input ref=${input} type="file" accept="image/*" class="sr-only" tabindex="-1" aria-label="Image file" onChange=${(event) => accept(event.target.files)} />
    </p>
    ${isCameraOpen && html`<${Camera} onFile=${onFile} />`}
  `;
}

/** @param {{onFile: (file: Blob) => void}} properties */
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

/** @param {{path: string}} properties */
function CallExamples({ path }) {
  const address = `${location.origin}/${path}`;
  const ref = /models\/([^/]+)\//.exec(path)?.[1];
  return html`<section class="columns">
    <${CodeBlock} label="curl" text=${`curl -s '${address}' -H 'Content-Type: image/png' --data-binary @image.png`} />
    ${ref && html`<${CodeBlock} label="Python" text=${`from candela import Client\n\nwith Client("${location.origin}") as client:\n    print(client.models.predict("${ref}", "image.png"))`} />`}
  </section>`;
}
