// The form of a new sweep. The service samples five trials and estimates the costs while it is written.
import { html, useMemo, useState } from "../../lib/preact.js";
import { Problem, request } from "../../lib/api.js";
import { formatBytes, formatCount, formatDuration, formatNumber } from "../../lib/format.js";
import { href, navigate } from "../../lib/router.js";
import { buildSpace, suggestRow, toRows } from "../../lib/space.js";
import { formatParameter, getExample, nameParameters } from "../../lib/sweeps.js";
import { buildClone, parseYaml, removeEmpty, specToYaml } from "../../lib/specs.js";
import { CheckLine, CheckPanel, useCheck } from "../../components/check.js";
import { CopyButton, Facts, Table } from "../../components/controls.js";
import { ProblemNotice } from "../../components/feedback.js";
import { Icon } from "../../components/icon.js";
import { isChanged, resolveSchema, SchemaField, setValue, toFieldId, toLabel } from "../../components/schema_form.js";
import { SpaceFields } from "../../components/space_form.js";

const FIRST_FIELDS = ["sampler", "scheduler", "parallel", "objective", "budget"];
const OWN_FIELDS = ["base", "space", "first", "spec_version"];

/** A sweep that searches the learning rate of a job. @param {any} job @returns {any} */
function buildFromJob(job) {
  const base = buildClone(job);
  const row = suggestRow("/optimizer/lr", base.optimizer?.lr ?? 0.001);
  return { base, space: buildSpace([row]), scheduler: base.epochs >= 9 ? { name: "asha" } : undefined, budget: { trials: 20 } };
}

/**
 * @param {{api: any, job?: any, sweep?: any}} properties api: the OpenAPI document; job or sweep: with which the form starts
 */
export function SweepForm({ api, job, sweep }) {
  const [initial] = useState(() => (job ? buildFromJob(job) : sweep ? removeEmpty({ ...sweep.spec, name: undefined }) : getExample(api)));
  const [start, setStart] = useState(initial); // the fields that differ from it are marked
  const [text, setText] = useState(() => specToYaml(initial.base));
  const [rows, setRows] = useState(() => toRows(initial.space));
  const [rest, setRest] = useState(() => omitOwn(initial));
  const [submission, setSubmission] = useState(/** @type {Problem | null} */ (null));
  const { base, error: baseError } = useMemo(() => readBase(text), [text]);
  const spec = useMemo(() => ({ ...rest, base, space: buildSpace(rows) }), [rest, base, rows]);
  const check = useCheck("v1/sweeps", spec);
  const body = api.paths["/v1/sweeps"].post.requestBody.content["application/json"];
  const schema = resolveSchema(body.schema, api.components.schemas);
  const errors = submission?.fields || check.problem?.fields || new Map();
  const form = {
    spec,
    initial: start,
    resolved: check.value?.spec,
    errors,
    schemas: api.components.schemas,
    change: (pointer, value) => (setRest(setValue(rest, pointer, value)), setSubmission(null)),
    findOptions: () => null,
  };
  const load = (example) => {
    setStart(example);
    setText(specToYaml(example.base));
    setRows(toRows(example.space));
    setRest(omitOwn(example));
    setSubmission(null);
  };
  const submit = async (event) => {
    event.preventDefault();
    try {
      const sweep = await request("v1/sweeps", { method: "POST", json: spec });
      navigate(href(`/sweeps/${sweep.id}`));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setSubmission(error);
    }
  };
  const field = (name) => html`<${SchemaField} key=${name} form=${form} pointer=${`/${name}`} schema=${schema.properties[name]} label=${toLabel(name)} />`;
  const more = Object.keys(schema.properties).filter((name) => ![...OWN_FIELDS, ...FIRST_FIELDS].includes(name));
  const baseErrors = [...errors].filter(([pointer]) => pointer === "/base" || pointer.startsWith("/base/"));
  const estimate = check.value?.estimate;
  return html`<form class="new-job new-sweep" onSubmit=${submit}>
    <div class="form-fields">
      <div class="toolbar">
        <label>Start from <select value="" onChange=${(event) => event.target.value && load(body.examples[event.target.value].value)}><option value="">an example…</option>${Object.entries(body.examples).map(([name, example]) => html`<option key=${name} value=${name}>${/** @type {any} */ (example).summary}</option>`)}</select></label>
        <span class="dim"><span class="set-mark"></span> changed by you</span>
      </div>
      <section class="card">
        <h2>Parameters</h2>
        <${SpaceFields} rows=${rows} errors=${errors} document=${check.value?.trials.find((trial) => trial.spec)?.spec || base} onChange=${(next) => (setRows(next), setSubmission(null))} />
      </section>
      <section class="card">
        <label class="field"><span class="field-title">Job of each trial</span><span class="help">The spec of a training, as YAML or JSON. The parameters replace its values; <code>epochs</code> is the most that a trial trains.</span>
          <textarea id=${toFieldId("/base")} class="yaml" rows="12" spellcheck=${false} aria-invalid=${baseError || baseErrors.length ? "true" : undefined} aria-describedby=${baseError || baseErrors.length ? "base-errors" : undefined} value=${text} onInput=${(event) => (setText(event.target.value), setSubmission(null))}></textarea></label>
        <ul class="plain error" id="base-errors">${baseError ? html`<li>${baseError}</li>` : baseErrors.map(([pointer, detail]) => html`<li key=${pointer} id=${toFieldId(pointer) === toFieldId("/base") ? undefined : toFieldId(pointer)}><code>${pointer.slice(5) || "/"}</code> ${detail}</li>`)}</ul>
      </section>
      <section class="card fields sweep-fields">${FIRST_FIELDS.map(field)}</section>
      <details class="card topic" open=${more.some((name) => [...errors.keys()].some((pointer) => pointer.split("/")[1] === name)) || undefined}><summary>More${more.some((name) => isChanged(form, `/${name}`)) && html`<span class="set-mark"></span>`}<span class="dim clip">name, seed, repeats, stop rules, kept checkpoints, registration</span></summary><div class="fields">${more.map(field)}</div></details>
    </div>
    <aside class="form-side">
      <${SweepCheck} check=${check} />
      ${submission && html`<${ProblemNotice} problem=${submission} />`}
      <div class="submit-bar">
        <${CheckLine} check=${check}>${estimate && describeEstimate(estimate)}<//>
        <button type="submit" class="primary wide" disabled=${Boolean(baseError)}><${Icon} name="play" /> ${check.isBusy ? "Checking…" : "Start the sweep"}</button>
      </div>
      <p><${CopyButton} text=${specToYaml(spec)} label="Copy the sweep as YAML" /></p>
    </aside>
  </form>`;
}

/** @param {any} spec */
function omitOwn(spec) {
  return Object.fromEntries(Object.entries(spec).filter(([name, value]) => name !== "base" && name !== "space" && value !== undefined));
}

/** @param {string} text @returns {{base: any, error: string}} */
function readBase(text) {
  try {
    const base = parseYaml(text);
    if (base === null || typeof base !== "object" || Array.isArray(base)) return { base: {}, error: "The job must be an object." };
    return { base, error: "" };
  } catch (error) {
    return { base: {}, error: error instanceof Error ? error.message.split("\n")[0] : String(error) };
  }
}

/** @param {any} estimate */
function describeEstimate({ trials, epochs }) {
  return [trials !== null && formatCount(trials, "trial"), epochs !== null && formatCount(epochs, "epoch")].filter(Boolean).join(" · ");
}

/** The costs, and the first trials. */
function SweepCheck({ check }) {
  const { trials = [], estimate } = check.problem || !check.value ? {} : check.value;
  const pointers = [...new Set(/** @type {string[]} */ (trials.flatMap((trial) => Object.keys(trial.parameters))))];
  const names = nameParameters(pointers);
  const warnings = [...new Set(trials.flatMap((trial) => trial.warnings))];
  return html`<${CheckPanel} check=${check}>
    ${estimate && html`<${Facts} items=${[["Trials", formatNumber(estimate.trials)], ["Epochs of all", formatNumber(estimate.epochs)], ["Time", estimate.hours === null ? "unknown" : formatDuration(3600 * estimate.hours)], ["Disk", formatBytes(estimate.disk_bytes)]]} />`}
    ${trials.length > 0 && html`<h3>The first trials</h3>
      <${Table} class="dense sampled" label="The first trials" head=${["#", ...pointers.map((pointer) => `${names.get(pointer)}#`), "Weights#"]} rows=${trials.map((trial) => [trial.number, [trial.number, ...pointers.map((pointer) => (pointer in trial.parameters ? formatParameter(trial.parameters[pointer]) : "")), trial.errors.length ? html`<span class="bad" title=${trial.errors.map((one) => `${one.pointer} ${one.detail}`).join("\n")}>refused</span>` : trial.num_parameters]])} />`}
    ${trials.flatMap((trial) => trial.errors.map((one) => html`<p class="error" key=${`${trial.number} ${one.pointer}`}>Trial ${trial.number}: <code>${one.pointer}</code> ${one.detail}</p>`))}
    ${warnings.map((one) => html`<p class="notice notice-warn" key=${one}><${Icon} name="warning" /> ${one}</p>`)}
  <//>`;
}
