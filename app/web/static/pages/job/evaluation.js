// The evaluation of a job: confusion matrix, classes, calibration and the samples with the largest loss.
import { html, useState } from "../../lib/preact.js";
import { request } from "../../lib/api.js";
import { formatCount, formatNumber, formatPercent } from "../../lib/format.js";
import { ENDED } from "../../lib/jobs.js";
import { useResource } from "../../lib/resource.js";
import { changeQuery, href, navigate } from "../../lib/router.js";
import { Bars, Dialog, Facts, Segments, Table } from "../../components/controls.js";
import { attempt, EmptyState, Loaded } from "../../components/feedback.js";
import { HeatmapOverlay } from "../../components/heatmap_overlay.js";

const MAX_CELLS = 50 * 50;
const DOCUMENTS = ["confusion_matrix.json", "class_metrics.json", "calibration.json", "worst_samples.json"];

/**
 * A sample of a document. `index` is its position in `split` of the dataset.
 * @typedef {{index: number, name: string, true: any, predicted: any, confidence?: number, probability?: number | null, loss?: number}} Sample
 */

export function EvaluationTab({ job, query }) {
  const artifacts = useResource(`v1/jobs/${job.id}/artifacts`, { everyMs: ENDED.has(job.state) ? 0 : 5000 }); // the end loads it once more
  return html`<${Loaded} resource=${artifacts}>
    ${(value) => {
      const names = new Set(value.items.map((file) => file.name));
      if (!DOCUMENTS.some((name) => names.has(name))) {
        return html`<${EmptyState} icon="models" title="No evaluation">
          <p>Add the callbacks <code>confusion_matrix</code> and <code>worst_samples</code> to a training, or evaluate its model. The files are written when the job ends.</p>
          <p><a class="button" href=${href("/new", { from: job.id })}>Clone</a></p>
        <//>`;
      }
      return html`<${Documents} job=${job} names=${names} query=${query} />`;
    }}
  <//>`;
}

function Documents({ job, names, query }) {
  const [shown, setShown] = useState(/** @type {{sample: Sample, split: string} | null} */ (null));
  const load = (name) => useResource(names.has(name) ? `v1/jobs/${job.id}/artifacts/${name}` : null);
  const [confusion, classes, calibration, worst] = DOCUMENTS.map(load);
  return html`
    ${confusion.value && html`<${Summary} job=${job} document=${confusion.value} classes=${classes.value} calibration=${calibration.value} />`}
    <div class="evaluation">
      <div class="stack">
        ${confusion.value && html`<section class="card"><${ConfusionMatrix} document=${confusion.value} query=${query} /></section>`}
        ${classes.value && html`<section class="card"><h2>Classes <span class="dim">weakest first</span></h2><${ClassTable} rows=${classes.value.classes} counts=${confusion.value?.counts} /></section>`}
      </div>
      <div class="stack">
        ${confusion.value && html`<${Cell} job=${job} document=${confusion.value} query=${query} onShow=${setShown} />`}
        ${calibration.value && html`<section class="card"><h2>Calibration</h2><${ReliabilityDiagram} document=${calibration.value} /></section>`}
      </div>
    </div>
    ${worst.value && html`<section><h2>Largest loss <span class="dim">true → predicted</span></h2><${SampleList} job=${job} split=${worst.value.split} samples=${worst.value.samples} onShow=${setShown} /></section>`}
    ${shown && html`<${SampleDialog} job=${job} split=${shown.split} sample=${shown.sample} onClose=${() => setShown(null)} />`}
  `;
}

/** What was evaluated, and the main figures. A training evaluates the weights of its last epoch, which are not always those it registers. */
function Summary({ job, document, classes, calibration }) {
  const isTraining = job.kind === "train";
  const best = job.metrics_best;
  const numRight = document.task === "multilabel" ? null : sum(document.counts.map((row, index) => row[index]));
  return html`
    <${Facts}
      items=${[
        ["Weights", isTraining ? `last epoch, ${job.progress.epoch}` : job.spec.model || "evaluated model"],
        ["Split", isTraining && document.split === "train" ? "validation, held out of train" : document.split],
        ["Samples", formatNumber(document.num_samples)],
        ["Accuracy", numRight === null ? null : formatNumber(numRight / document.num_samples)],
        ["Macro F1", classes ? formatNumber(sum(classes.classes.map((row) => row.f1)) / classes.classes.length) : null],
        ["Calibration error", calibration ? formatPercent(calibration.ece) : null],
      ]}
    />
    ${isTraining && best && job.model && best.epoch !== job.progress.epoch && html`<p class="after">The registered model has the weights of epoch ${best.epoch}, not these. <button type="button" onClick=${() => evaluateModel(job, document.split)}>Evaluate epoch ${best.epoch}</button></p>`}
    <p class="dim after">${classes && "Macro F1 is the mean of the F1 of all classes. "}${calibration && "The calibration error is the mean distance between confidence and accuracy."}</p>
  `;
}

/** Start a job that evaluates the model of a training on the same samples, and show it. @param {any} job @param {string} split */
function evaluateModel(job, split) {
  const { name, version, valid, test } = job.spec.dataset;
  const dataset = Object.fromEntries(Object.entries({ name, version, valid, test }).filter(([, value]) => value));
  const json = { kind: "evaluate", model: `${job.model.name}@${job.model.version}`, dataset, split: split === "train" ? "valid" : split };
  return attempt(async () => navigate(href(`/jobs/${(await request("v1/jobs", { method: "POST", json })).id}`, { tab: "evaluation" })));
}

/** The address of a sample's image. @param {any} job @param {string} split @param {number} index @param {number} size */
function getImagePath(job, split, index, size) {
  const { name, version } = job.spec.dataset;
  return `v1/datasets/${name}/versions/${version}/samples/${split}/${index}?size=${size}`;
}

function ConfusionMatrix({ document, query }) {
  const { labels, counts } = document;
  const title = html`<h2>Confusion matrix</h2>`;
  if (document.task === "multilabel") return html`${title}<p class="dim">Each label has its own matrix; see the classes.</p>`;
  if (labels.length ** 2 > MAX_CELLS) return html`${title}<p class="dim">${formatCount(labels.length, "class", "classes")}: the list beside shows the most frequent confusions.</p>`;
  const sums = counts.map(sum);
  const never = labels.filter((_, column) => sum(counts.map((row) => row[column])) === 0);
  const isShare = query.get("cells") === "share";
  return html`
    <header class="section-head">${title}<${Segments} label="Cells" chosen=${isShare ? "share" : ""} options=${[["", "Counts"], ["share", "Row %"]]} onChoose=${(value) => changeQuery({ cells: value })} /></header>
    <p class="dim">Choose a cell to see its samples.${never.length > 0 && ` Never predicted: ${never.slice(0, 12).join(", ")}.`}</p>
    <div class="scroll matrix" tabindex="0" role="region" aria-label="Confusion matrix">
      <table>
        <thead>
          <tr><td></td><th scope="colgroup" colspan=${labels.length}>predicted class</th></tr>
          <tr><th scope="col">true</th>${labels.map((label) => html`<th scope="col" key=${label} title=${label}>${label}</th>`)}</tr>
        </thead>
        <tbody>
          ${labels.map(
            (label, row) => html`<tr key=${label}>
              <th scope="row" title=${label}>${label}</th>
              ${labels.map((predicted, column) => {
                const count = counts[row][column];
                const level = sums[row] ? Math.ceil((8 * count) / sums[row]) : 0;
                const isChosen = query.get("true") === label && query.get("predicted") === predicted;
                return html`<td key=${predicted} class=${`level-${level} ${row === column ? "right" : "wrong"}`}>
                  ${count > 0 && html`<button type="button" aria-pressed=${String(isChosen)} aria-label=${`${count} of ${label} predicted as ${predicted}`} onClick=${() => changeQuery({ true: label, predicted })}>${isShare ? Math.round((100 * count) / sums[row]) : count}</button>`}
                </td>`;
              })}
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  `;
}

/** @param {number[]} values */
function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

/** The samples of the chosen cell, or the most frequent confusions. */
function Cell({ job, document, query, onShow }) {
  const [truth, predicted] = [query.get("true"), query.get("predicted")];
  const cell = document.cells.find((one) => String(one.true) === truth && String(one.predicted) === predicted);
  const mistakes = document.cells.filter((one) => one.true !== one.predicted);
  if (cell) {
    return html`<section class="card">
      <header class="section-head"><h2>${cell.true} → ${cell.predicted} <span class="dim">${cell.count}</span></h2><button type="button" onClick=${() => changeQuery({ true: null, predicted: null })}>All confusions</button></header>
      <${SampleList} job=${job} split=${document.split} samples=${cell.samples.map((sample) => ({ ...sample, true: cell.true, predicted: cell.predicted }))} onShow=${onShow} />
    </section>`;
  }
  return html`<section class="card">
    <h2>Most frequent confusions</h2>
    ${mistakes.length === 0 && html`<p class="dim">Every sample was predicted correctly.</p>`}
    <${Bars}
      hint="Show the samples"
      head=${["true → predicted", "samples · of the class"]}
      items=${mistakes.sort((a, b) => b.count - a.count).slice(0, 8).map((one) => {
        const share = one.count / (one.label ? document.num_samples : sum(document.counts[document.labels.indexOf(one.true)]));
        return { key: `${one.label ?? ""} ${one.true} ${one.predicted}`, label: `${one.label ? `${one.label}: ` : ""}${one.true} → ${one.predicted}`, text: `${one.count} · ${formatPercent(share, 0)}`, share: one.count / mistakes[0].count, action: () => changeQuery({ true: one.true, predicted: one.predicted }) };
      })}
    />
  </section>`;
}

function ClassTable({ rows, counts }) {
  const isPredicted = (index) => !Array.isArray(counts?.[0]) || Array.isArray(counts[0][0]) || sum(counts.map((row) => row[index])) > 0;
  const cells = rows.map((row, index) => ({ ...row, precision: isPredicted(index) ? row.precision : null })).sort((a, b) => a.f1 - b.f1);
  const round = (value) => value?.toFixed(3);
  return html`<${Table} class="dense scroll" label="Metrics of each class" head=${["Class", "Precision#", "Recall#", "F1#", "Samples#"]} rows=${cells.map((row) => [row.label, [row.label, round(row.precision), round(row.recall), round(row.f1), row.support]])} />`;
}

/** How often predictions of a confidence are right: on the diagonal if the confidence is calibrated. */
function ReliabilityDiagram({ document }) {
  const bins = document.bins.filter((bin) => bin.count > 0);
  const largest = Math.max(...bins.map((bin) => bin.count), 1);
  const place = (share) => 52 + 208 * share;
  const level = (share) => 218 - 206 * share;
  return html`
    <p class="dim">A circle is a range of confidence; its area is the number of samples. On the diagonal, confidence is accuracy.</p>
    <svg class="relations" width="280" height="262" viewBox="0 0 280 262" role="img" aria-label=${`Reliability diagram. ${bins.map((bin) => `Confidence ${formatPercent(bin.confidence, 0)}: ${formatPercent(bin.accuracy, 0)} right, ${bin.count} samples`).join(". ")}`}>
      <line class="axis" x1="40" y1="230" x2="260" y2="230" /><line class="axis" x1="40" y1="10" x2="40" y2="230" />
      <line class="axis" stroke-dasharray="3 3" x1=${place(0)} y1=${level(0)} x2=${place(1)} y2=${level(1)} />
      ${bins.map((bin) => html`<circle key=${bin.from} cx=${place(bin.confidence)} cy=${level(bin.accuracy)} r=${3 + 7 * Math.sqrt(bin.count / largest)} fill="var(--accent)" fill-opacity="0.8"><title>${formatPercent(bin.confidence)}: ${formatPercent(bin.accuracy)} right, ${bin.count} samples</title></circle>`)}
      <text x="150" y="256" text-anchor="middle">confidence</text><text x="14" y="120" text-anchor="middle" transform="rotate(-90 14 120)">accuracy</text>
      ${[0, 0.5, 1].map((share) => html`<text class="tick" key=${share} x=${place(share)} y="243" text-anchor="middle">${share}</text><text class="tick" key=${`y${share}`} x="34" y=${level(share) + 3} text-anchor="end">${share}</text>`)}
    </svg>
  `;
}

function SampleList({ job, split, samples, onShow }) {
  return html`<ul class="gallery">
    ${samples.map(
      (sample) => html`<li key=${sample.index}>
        <button type="button" class="thumb" aria-label=${`Show ${sample.name}`} onClick=${() => onShow({ sample, split })}><img src=${getImagePath(job, split, sample.index, 96)} alt="" loading="lazy" width="96" height="96" /></button>
        <span>${formatLabels(sample.true)} → ${formatLabels(sample.predicted)}</span>
        <span class="dim">${sample.loss !== undefined ? `loss ${formatNumber(sample.loss, 2)}` : formatPercent(sample.confidence, 0)}</span>
      </li>`,
    )}
  </ul>`;
}

/** @param {any} labels */
function formatLabels(labels) {
  return Array.isArray(labels) ? labels.map((one) => (typeof one === "number" ? formatNumber(one, 3) : one)).join(", ") || "none" : String(labels);
}

/** One sample, enlarged, with the regions that the registered model looks at. */
function SampleDialog({ job, split, sample, onClose }) {
  const path = getImagePath(job, split, sample.index, 512);
  return html`<${Dialog} title=${sample.name || `${split} ${sample.index}`} onClose=${onClose}>
    <div class="dialog-body">
      ${job.model ? html`<${HeatmapOverlay} image=${path} explainPath=${`v1/models/${job.model.name}@${job.model.version}/explain`} />` : html`<img class="preview" src=${path} alt=${sample.name} />`}
      <p>True: <b>${formatLabels(sample.true)}</b>. Predicted: <b>${formatLabels(sample.predicted)}</b>.</p>
    </div>
  <//>`;
}
