// A form for a new job next to its YAML. The service checks the spec while it is written.
import { html, useState } from "../lib/preact.js";
import { Problem, request } from "../lib/api.js";
import { formatCount, formatNumber } from "../lib/format.js";
import { useResource } from "../lib/resource.js";
import { changeQuery, href, navigate } from "../lib/router.js";
import { buildClone, parseYaml, specToYaml } from "../lib/specs.js";
import { CheckLine, CheckPanel, useCheck } from "../components/check.js";
import { Facts, PageHead, Segments } from "../components/controls.js";
import { Loaded, ProblemNotice } from "../components/feedback.js";
import { Icon } from "../components/icon.js";
import { formatInput, getValue, isChanged, resolveSchema, SchemaField, setValue, toLabel, ValueField } from "../components/schema_form.js";

/** The fields of a training, by topic. Fields that are not listed are under “More”. */
const TOPICS = /** @type {[string, string[]][]} */ ([
  ["Data", ["dataset", "sampler", "drop_last"]],
  ["Network", ["architecture", "weights", "init_from", "resume_from", "freeze", "freeze_bn_stats"]],
  ["Optimization", ["optimizer", "schedule", "loss", "accumulate_batches"]],
  ["Metrics and callbacks", ["metrics", "callbacks", "milestones"]],
  ["Name and seed", ["name", "model", "register", "seed"]],
  ["Machine", ["device", "precision", "threads", "compile", "on_oom", "resources", "max_runtime_s"]],
]);
const FIRST_FIELDS = new Set(["kind", "spec_version", "epochs", "batch_size"]);
const CATALOG = /** @type {Record<string, string>} */ ({ architecture: "architectures", optimizer: "optimizers", schedule: "schedules", loss: "losses" });
const BLANK = { dataset: { name: "digits" }, architecture: { name: "convnet" }, metrics: ["accuracy"], epochs: 10 };

export default function NewJobPage({ query }) {
  const document_ = useResource("openapi.json");
  const catalog = useResource("v1/catalog");
  const from = query.get("from");
  const source = useResource(from ? `v1/jobs/${from}` : null);
  return html`
    <${PageHead} title="New job" />
    <${Loaded} resource=${document_} lines=${10}>
      ${(api) => html`<${Loaded} resource=${catalog} lines=${10}>
        ${(entries) => {
          if (from && !source.value) return html`<${Loaded} resource=${source}>${() => null}<//>`;
          const dataset = query.get("dataset");
          const initial = source.value ? buildClone(source.value) : dataset ? { ...BLANK, dataset: { name: dataset } } : BLANK;
          return html`<${JobForm} api=${api} catalog=${entries} initial=${initial} view=${query.get("view") || "form"} />`;
        }}
      <//>`}
    <//>
  `;
}

function JobForm({ api, catalog, initial, view }) {
  const [start, setStart] = useState(initial); // the fields that differ from it are marked
  const [spec, setSpec] = useState(initial);
  const [text, setText] = useState(() => specToYaml(initial));
  const [yamlError, setYamlError] = useState("");
  const check = useCheck("v1/jobs", spec);
  const [submission, setSubmission] = useState(/** @type {Problem | null} */ (null));
  const datasets = useResource("v1/datasets?limit=200");
  const schemas = api.components.schemas;
  const body = api.paths["/v1/jobs"].post.requestBody.content["application/json"];
  const kinds = body.schema.discriminator.mapping;
  const kind = spec.kind || "train";
  const schema = resolveSchema({ $ref: kinds[kind] || kinds.train }, schemas);
  const change = (pointer, value) => replace(setValue(spec, pointer, value));
  const replace = (next) => {
    setSpec(next);
    setText(specToYaml(next));
    setYamlError("");
    setSubmission(null);
  };
  const edit = (next) => {
    setText(next);
    try {
      const value = parseYaml(next);
      if (value === null || typeof value !== "object" || Array.isArray(value)) throw new Error("The spec must be an object.");
      setSpec(value);
      setYamlError("");
    } catch (error) {
      setYamlError(error instanceof Error ? error.message.split("\n")[0] : String(error));
    }
  };
  const errors = submission?.fields || check.problem?.fields || new Map();
  const form = {
    spec,
    initial: start,
    resolved: check.value?.spec,
    errors,
    schemas,
    change,
    findOptions: (pointer, name) => findOptions(pointer, name, catalog, datasets.value, schema, schemas),
  };
  const submit = async (event) => {
    event.preventDefault();
    try {
      const job = await request("v1/jobs", { method: "POST", json: spec });
      navigate(href(`/jobs/${job.id}`));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setSubmission(error);
    }
  };
  return html`<form class=${`new-job ${view}-view`} onSubmit=${submit}>
    <div class="form-fields">
      <div class="toolbar">
        <label>Start from <select value="" onChange=${(event) => event.target.value && (setStart(body.examples[event.target.value].value), replace(body.examples[event.target.value].value))}><option value="">an example…</option>${Object.entries(body.examples).map(([name, example]) => html`<option key=${name} value=${name}>${/** @type {any} */ (example).summary}</option>`)}</select></label>
        <label>Kind <select value=${kind} onChange=${(event) => replace({ ...spec, kind: event.target.value === "train" ? undefined : event.target.value })}>${Object.keys(kinds).filter((name) => name !== "predict_archive").map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>
        <span class="dim"><span class="set-mark"></span> changed by you</span>
      </div>
      ${kind === "train" ? html`<${TrainingFields} form=${form} schema=${schema} />` : html`<section class="card fields">${Object.entries(schema.properties).filter(([name]) => !["kind", "spec_version"].includes(name)).map(([name, part]) => html`<${SchemaField} key=${name} form=${form} pointer=${`/${name}`} schema=${part} label=${toLabel(name)} isRequired=${(schema.required || []).includes(name)} />`)}</section>`}
    </div>
    <aside class="form-side">
      <${JobCheck} check=${check} kind=${kind} />
      ${submission && html`<${ProblemNotice} problem=${submission} />`}
      <div class="submit-bar">
        <${CheckLine} check=${check}>${check.value?.num_parameters && `${formatCount(check.value.num_parameters, "parameter")} · ${formatCount(check.value.steps_per_epoch * check.value.spec.epochs, "step")}`}<//>
        <button type="submit" class="primary wide" disabled=${Boolean(yamlError)}><${Icon} name="play" /> ${check.isBusy ? "Checking…" : "Submit the job"}</button>
        <${Segments} label="View" chosen=${view} options=${[["form", "Form"], ["yaml", "YAML"]]} onChoose=${(value) => changeQuery({ view: value === "form" ? null : value })} />
      </div>
      <label class="field yaml-field">YAML <textarea class="yaml" rows="24" spellcheck=${false} aria-invalid=${yamlError ? "true" : undefined} aria-describedby=${yamlError ? "yaml-error" : undefined} value=${text} onInput=${(event) => edit(event.target.value)}></textarea></label>
      ${yamlError && html`<p class="error" id="yaml-error" role="alert">${yamlError}</p>`}
    </aside>
  </form>`;
}

/** The five fields that matter first, then the rest by topic. */
function TrainingFields({ form, schema }) {
  const rate = { type: "number" };
  const part = (name) => schema.properties[name];
  // The names of these fields say it all.
  const brief = (name) => html`<${ValueField} form=${form} pointer=${`/${name}`} schema=${{ ...resolveSchema(part(name), form.schemas), description: "" }} label=${toLabel(name)} />`;
  const field = (name) => part(name) && html`<${SchemaField} key=${name} form=${form} pointer=${`/${name}`} schema=${part(name)} label=${toLabel(name)} isRequired=${(schema.required || []).includes(name)} />`;
  const listed = new Set([...TOPICS.flatMap(([, names]) => names), ...FIRST_FIELDS]);
  const rest = Object.keys(schema.properties).filter((name) => !listed.has(name));
  const topics = /** @type {[string, string[]][]} */ ([...TOPICS, ["More", rest]]);
  const setRate = (pointer, value) => {
    const optimizer = form.spec.optimizer ?? { name: "adam" };
    form.change("/optimizer", value === undefined ? setValue({ optimizer }, pointer, undefined).optimizer : { ...optimizer, lr: value });
  };
  return html`
    <section class="card fields">
      ${field("dataset")} ${field("architecture")}
      <div class="fields pairs">
        ${brief("epochs")} ${brief("batch_size")}
        <${ValueField} form=${{ ...form, change: setRate }} pointer="/optimizer/lr" schema=${rate} label="Learning rate" />
      </div>
    </section>
    ${topics.map(([title, names]) => {
      const shown = names.filter((name) => part(name) && name !== "dataset" && name !== "architecture");
      if (!shown.length) return null;
      const isSet = shown.some((name) => isChanged(form, `/${name}`));
      const hasError = [...form.errors.keys()].some((pointer) => shown.some((name) => pointer === `/${name}` || pointer.startsWith(`/${name}/`)));
      return html`<details class="card topic" key=${title} open=${hasError || undefined}><summary>${title}${isSet && html`<span class="set-mark"></span>`}${hasError && html`<span class="bad">error</span>`}<span class="dim clip">${summarize(form, shown) || "defaults"}</span></summary><div class="fields">${shown.map(field)}</div></details>`;
    })}
  `;
}

/** What a topic contains: names of its choices, and values that are set. @param {any} form @param {string[]} names */
function summarize(form, names) {
  const parts = names.map((name) => {
    const value = getValue(form.spec, `/${name}`) ?? getValue(form.resolved, `/${name}`);
    if (Array.isArray(value)) return value.map((one) => one.name || one).join(", ");
    if (value?.name) return `${value.name}${value.lr === undefined ? "" : `, lr ${value.lr}`}`;
    return (value !== undefined && ["name", "seed", "device", "precision"].includes(name)) || getValue(form.spec, `/${name}`) !== undefined ? `${name} ${formatInput(value)}` : "";
  });
  return parts.filter(Boolean).slice(0, 5).join(" · ").replaceAll("_", " ");
}

/**
 * The options of a member of the catalog, or with the name `*` the names of all members.
 * @returns {any}
 */
function findOptions(pointer, name, catalog, datasets, schema, schemas) {
  const field = pointer.split("/")[1];
  if (pointer === "/dataset") {
    if (name === "*") return { names: (datasets?.items || catalog.datasets).map((one) => one.name) };
    const entry = catalog.datasets.find((one) => one.name === name);
    const own = resolveSchema(schema.properties.dataset, schemas).properties;
    return { summary: entry?.summary, properties: { ...own, ...entry?.options.properties } };
  }
  const list = pointer === `/${field}` && CATALOG[field] ? catalog[CATALOG[field]] : null;
  if (!list) return null;
  if (name === "*") return { names: list.map((one) => one.name) };
  const entry = list.find((one) => one.name === name);
  return entry ? { ...entry.options, summary: entry.summary } : null;
}

/** What a valid job needs. */
function JobCheck({ check, kind }) {
  const value = check.problem ? null : check.value;
  return html`<${CheckPanel} check=${check}>
    ${value && kind === "train" && html`<${Facts} items=${[["Parameters", formatNumber(value.num_parameters)], ["Output", formatCount(value.output_shape.at(-1), value.spec.loss?.name === "mse" ? "value" : "class", value.spec.loss?.name === "mse" ? "values" : "classes")], ["Steps", `${formatNumber(value.steps_per_epoch)} × ${formatCount(value.spec.epochs, "epoch")} = ${formatNumber(value.steps_per_epoch * value.spec.epochs)}`]]} />`}
    ${value?.warnings.map((one) => html`<p class="notice notice-warn" key=${one}><${Icon} name="warning" /> ${one}</p>`)}
  <//>`;
}
