// Buttons of a sweep that ask something first.
import { html, useEffect, useState } from "../../lib/preact.js";
import { Problem, request } from "../../lib/api.js";
import { formatCount, formatNumber } from "../../lib/format.js";
import { useResource } from "../../lib/resource.js";
import { href, navigate } from "../../lib/router.js";
import { formatValues, parseValue } from "../../lib/space.js";
import { nameParameters, runSweepAction } from "../../lib/sweeps.js";
import { Dialog } from "../../components/controls.js";
import { ProblemNotice, showToast } from "../../components/feedback.js";
import { Icon } from "../../components/icon.js";

/**
 * A button that opens a form in a dialog. It closes when the action has succeeded; otherwise the form shows the problem.
 * @param {{icon: string, label: string, title: string, submit: string, isDanger?: boolean, onOpen?: () => void, onSubmit: () => Promise<unknown>, children: any}} properties
 */
function FormButton({ icon, label, title, submit, isDanger = false, onOpen, onSubmit, children }) {
  const [isOpen, setOpen] = useState(false);
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const open = () => {
    onOpen?.();
    setOpen(true);
  };
  const close = () => {
    setOpen(false);
    setProblem(null);
  };
  const send = async (event) => {
    event.preventDefault();
    try {
      await onSubmit();
      close();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setProblem(error);
    }
  };
  return html`
    <button type="button" onClick=${open}><${Icon} name=${icon} /> ${label}</button>
    ${isOpen &&
    html`<${Dialog} title=${title} onClose=${close}>
      <form onSubmit=${send}>
        ${children}
        ${problem && html`<${ProblemNotice} problem=${problem} />`}
        <footer><button type="button" onClick=${close}>Close</button><button type="submit" class=${isDanger ? "danger" : "primary"}>${submit}</button></footer>
      </form>
    <//>`}
  `;
}

/** @param {{sweep: any, onCancel: () => Promise<unknown>}} properties */
export function CancelButton({ sweep, onCancel }) {
  const { running, paused } = sweep.trials;
  return html`<${FormButton} icon="stop" label="Cancel" title=${`Cancel ${sweep.name}?`} submit="Cancel the sweep" isDanger onSubmit=${onCancel}>
    <p>${formatCount(running, "running trial")} and ${formatCount(paused, "waiting trial")} are stopped, and no model is registered. It cannot be resumed. <em>Finish early</em> keeps the best trial as a model version.</p>
  <//>`;
}

const LIMITS = /** @type {[string, string][]} */ ([["trials", "Trials"], ["epochs", "Epochs of all trials"], ["hours", "Hours"]]);

/** @param {{sweep: any, onChange: (sweep: any) => void}} properties */
export function ExtendButton({ sweep, onChange }) {
  const [texts, setTexts] = useState(/** @type {Record<string, string>} */ ({}));
  const getText = (name) => texts[name] ?? (sweep.budget[name].limit === null ? "" : String(sweep.budget[name].limit));
  const save = async () => {
    const changes = LIMITS.map(([name]) => [name, getText(name).trim() === "" ? null : Number(getText(name))]).filter(([name, value]) => value !== sweep.budget[/** @type {string} */ (name)].limit);
    onChange(await runSweepAction(sweep.id, "extend", Object.fromEntries(changes)));
    setTexts({});
  };
  return html`<${FormButton} icon="plus" label="Extend" title="Extend the budget" submit="Extend" onSubmit=${save}>
    ${LIMITS.map(([name, label]) => html`<label class="field" key=${name}>${label} <input type="number" min="0" step=${name === "hours" ? "any" : "1"} placeholder="no limit" value=${getText(name)} onInput=${(event) => setTexts({ ...texts, [name]: event.target.value })} /><span class="help">${formatNumber(name === "hours" ? Number(sweep.budget.hours.used.toPrecision(2)) : sweep.budget[name].used)} used</span></label>`)}
    <p class="dim">The sweep ends with the first limit that is reached. One that has ended continues with its trials.</p>
  <//>`;
}

/** The text of each parameter of a new trial: that of the best trial, or else a value of the space. @param {any} sweep @returns {[string, string][]} */
function listInitialTexts(sweep) {
  return Object.entries(sweep.spec.space).map(([pointer, parameter]) => {
    if (sweep.best) return [pointer, pointer in sweep.best.parameters ? formatValues([sweep.best.parameters[pointer]]) : ""];
    return [pointer, parameter.when ? "" : formatValues([parameter.type === "choice" ? parameter.values[0] : parameter.low])];
  });
}

/** Train a set of parameters that the sampler has not chosen. @param {{sweep: any}} properties */
export function AddTrialButton({ sweep }) {
  const [fields, setFields] = useState(/** @type {[string, string][]} */ ([])); // a better trial does not change an open form
  const names = nameParameters(Object.keys(sweep.spec.space));
  const change = (pointer, text) => setFields(fields.map((field) => (field[0] === pointer ? [pointer, text] : field)));
  const add = async () => {
    const parameters = Object.fromEntries(fields.filter(([, text]) => text.trim()).map(([pointer, text]) => [pointer, parseValue(text.trim())]));
    const trial = await runSweepAction(sweep.id, "trials", { parameters });
    showToast(`Trial ${trial.number} was added.`);
  };
  return html`<${FormButton} icon="plus" label="Add a trial" title="Add a trial by hand" submit="Add the trial" onOpen=${() => setFields(listInitialTexts(sweep))} onSubmit=${add}>
    ${fields.map(([pointer, text]) => html`<label class="field" key=${pointer} title=${pointer}>${names.get(pointer)} <input autocomplete="off" spellcheck=${false} value=${text} onInput=${(event) => change(pointer, event.target.value)} />${sweep.spec.space[pointer].when && html`<span class="help">Empty if its condition is not met.</span>`}</label>`)}
    <p class="dim">The form starts with the values of the best trial. The sampler learns from the score of the new one.</p>
  <//>`;
}

/** Train the network of a trial for more epochs, or with its parameters as a new job while it has not trained to its end. @param {{jobId: string, revision: number}} properties revision: that of the sweep, which changes with the state of the job */
export function TrainLongerButton({ jobId, revision }) {
  const { value: job, refresh } = useResource(`v1/jobs/${jobId}`, { everyMs: 10000 });
  useEffect(() => void refresh(), [revision]);
  const [epochs, setEpochs] = useState("");
  if (!job) return null;
  if (job.state !== "succeeded") return html`<a class="button" href=${href("/new", { from: jobId })}><${Icon} name="play" /> Train as a new job</a>`;
  const trained = job.progress.epoch || job.spec.epochs;
  const extend = async () => {
    await request(`v1/jobs/${jobId}/extend`, { method: "POST", json: { epochs: Number(epochs || trained) } });
    navigate(href(`/jobs/${jobId}`));
  };
  return html`<${FormButton} icon="play" label="Train longer" title="Train the best trial longer" submit="Train" onSubmit=${extend}>
    <p>It continues after ${formatCount(trained, "epoch")}, with its weights and the state of its optimizer, and registers its network as a new version of ${job.spec.model || "its model"}.</p>
    <label class="field">Additional epochs <input type="number" min="1" placeholder=${String(trained)} value=${epochs} onInput=${(event) => setEpochs(event.target.value)} /></label>
  <//>`;
}
