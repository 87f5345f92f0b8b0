// A form with a field for each column of a table model.
import { html, useState } from "../lib/preact.js";
import { Problem, request } from "../lib/api.js";
import { formatNumber, formatPercent } from "../lib/format.js";
import { Bars } from "./controls.js";
import { ProblemNotice } from "./feedback.js";

export function RowForm({ table, path }) {
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
