// The table of trials, which the server sorts and pages.
import { html, useEffect, useRef, useState } from "../../lib/preact.js";
import { buildPath } from "../../lib/api.js";
import { formatCount, formatMetricName, formatNumber } from "../../lib/format.js";
import { useResource, useThrottle } from "../../lib/resource.js";
import { href } from "../../lib/router.js";
import { formatParameter, nameParameters, TRIAL_STATES } from "../../lib/sweeps.js";
import { StateBadge, Table } from "../../components/controls.js";
import { Loaded } from "../../components/feedback.js";
import { Icon } from "../../components/icon.js";
import { FilterSelect, Pager, SortHeading } from "../../components/list_parts.js";
import { AddTrialButton } from "./actions.js";

const LIMIT = 50;

export function TrialsTab({ sweep, query }) {
  const [sort, state, cursor] = [query.get("sort") || "number", query.get("state") || "", query.get("cursor")];
  const trials = useResource(buildPath(`v1/sweeps/${sweep.id}/trials`, { sort, state, cursor, limit: LIMIT }));
  const refresh = useThrottle(trials.refresh, 1000);
  const [selected, setSelected] = useState(/** @type {Map<number, string[]>} */ (new Map()));
  const first = useRef(sweep.revision); // useResource has loaded it
  useEffect(() => {
    if (sweep.revision !== first.current) refresh();
  }, [sweep.revision]);
  return html`
    <div class="toolbar"><${FilterSelect} name="state" label="State" chosen=${state} values=${TRIAL_STATES} />${sweep.state === "running" && html`<${AddTrialButton} sweep=${sweep} />`}</div>
    <${Loaded} resource=${trials} lines=${10}>${(page) => html`<${TrialTable} sweep=${sweep} page=${page} sort=${sort} query=${query} selected=${selected} onSelect=${setSelected} />`}<//>
    ${selected.size > 0 && html`<${Tray} selected=${selected} onClear=${() => setSelected(new Map())} />`}
  `;
}

function TrialTable({ sweep, page, sort, query, selected, onSelect }) {
  const pointers = Object.keys(sweep.spec.space);
  const names = nameParameters(pointers);
  const isMin = sweep.objective.direction === "min";
  const isNumber = (pointer) => sweep.spec.space[pointer].type !== "choice";
  const toggle = (trial) => {
    const next = new Map(selected);
    if (!next.delete(trial.number)) next.set(trial.number, trial.jobs);
    onSelect(next);
  };
  return html`
    <${Table} class="trials" label="Trials" head=${[
      html`<${SortHeading} key="number" name="number" text="Trial" sort=${sort} isAscending />`,
      html`<${SortHeading} key="score" name="score" text=${`Best ${formatMetricName(sweep.objective.metric)}`} sort=${sort} isNumber isAscending=${isMin} />`,
      html`<${SortHeading} key="epochs" name="epochs" text="Epochs" sort=${sort} isNumber />`,
      html`<th key="state" scope="col">State</th>`,
      ...pointers.map((pointer) => html`<th key=${pointer} scope="col" class=${isNumber(pointer) ? "number" : ""} title=${pointer}>${names.get(pointer)}</th>`),
      html`<th key="job" scope="col">Job</th>`,
    ]}>
      ${page.items.map((trial) => html`<tr key=${trial.number} class=${selected.has(trial.number) ? "selected" : ""}>
        <th scope="row"><input type="checkbox" aria-label=${`Select trial ${trial.number}`} disabled=${!trial.jobs.length} checked=${selected.has(trial.number)} onChange=${() => toggle(trial)} />${trial.number}${trial.number === sweep.best?.number && html` <span class="tag tag-best">best</span>`}${trial.source !== "sampler" && html` <span class="tag">${trial.source === "copy" && trial.parent ? `copy of ${trial.parent.number}` : trial.source}</span>`}</th>
        <td class="number" title=${trial.scores.map((one) => `epoch ${one.epochs}: ${formatNumber(one.score)}`).join("\n")}>${formatNumber(trial.best_score)}</td>
        <td class="number">${formatNumber(trial.epochs)}</td>
        <td><${StateBadge} state=${trial.state} />${trial.reason && html` <span class="dim reason" title=${trial.reason}>${describeReason(trial.reason)}</span>`}</td>
        ${pointers.map((pointer) => html`<td key=${pointer} class=${isNumber(pointer) ? "number" : ""} data-label=${names.get(pointer)}>${pointer in trial.parameters ? formatParameter(trial.parameters[pointer]) : html`<span class="dim">–</span>`}</td>`)}
        <td>${trial.jobs.length ? trial.jobs.map((id, index) => html`<a key=${id} href=${href(`/jobs/${id}`)} aria-label=${`Job of trial ${trial.number}${trial.jobs.length > 1 ? `, repeat ${index + 1}` : ""}`}><code>${id.slice(0, 8)}</code></a> `) : html`<span class="dim">–</span>`}</td>
      </tr>`)}
    <//>
    <${Pager} path=${`/sweeps/${sweep.id}`} query=${query} next=${page.next_cursor}>${page.items.length === 0 ? "No trial matches." : `${formatCount(page.items.length, "trial")}${page.next_cursor ? " on this page" : ""}${page.items.length > 1 && !selected.size ? ". Select trials to compare their jobs." : ""}`}<//>
  `;
}

/** @param {string} reason a code such as `cannot_be_promoted`, or a sentence */
function describeReason(reason) {
  if (reason === "cannot_be_promoted") return "not promoted";
  return reason.includes(" ") ? reason : reason.replaceAll("_", " ");
}

/** What can be done with the selected trials. @param {{selected: Map<number, string[]>, onClear: () => void}} properties */
function Tray({ selected, onClear }) {
  const jobs = [...selected.values()].flat();
  return html`<div class="tray" role="region" aria-label="Selected trials">
    <strong>${formatCount(selected.size, "trial")} selected</strong>
    <a class="button primary" href=${href("/compare", { job: jobs })}><${Icon} name="compare" /> Compare ${formatCount(jobs.length, "job")}</a>
    <button type="button" class="bare" onClick=${onClear}>Clear</button>
  </div>`;
}
