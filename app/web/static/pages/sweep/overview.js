// How the best score developed, which parameters matter, and the milestones of the trials.
import { html, useMemo } from "../../lib/preact.js";
import { COLORS } from "../../lib/colors.js";
import { formatCount, formatMetricName, formatNumber, formatPercent } from "../../lib/format.js";
import { useResource } from "../../lib/resource.js";
import { buildLadder, computeBestSoFar, listScores } from "../../lib/sweep_trials.js";
import { ENDED, nameParameters } from "../../lib/sweeps.js";
import { Chart } from "../../components/chart.js";
import { Table } from "../../components/controls.js";
import { Loaded } from "../../components/feedback.js";
import { ScoreScaleSwitch } from "../../components/sweep_parts.js";

export function OverviewTab({ sweep, trials, query }) {
  return html`
    <div class="charts overview">
      <${BestSoFar} sweep=${sweep} trials=${trials} isLogY=${query.get("logy") === "1"} />
      <${Importance} sweep=${sweep} />
    </div>
    <${Ladder} sweep=${sweep} trials=${trials} />
  `;
}

function BestSoFar({ sweep, trials, isLogY }) {
  const metric = formatMetricName(sweep.objective.metric);
  const { x, lines } = useMemo(() => {
    const scores = listScores(trials, sweep.spec.repeats);
    const all = { key: "all", label: "score of a trial", color: COLORS[7], shape: /** @type {"points"} */ ("points"), values: scores.map((one) => (typeof one.score === "number" ? one.score : null)) };
    const best = { key: "best", label: "best so far", color: COLORS[0], shape: /** @type {"steps"} */ ("steps"), values: computeBestSoFar(scores, sweep.objective.direction) };
    return { x: scores.map((one) => one.epochs), lines: scores.length ? [all, best] : [] };
  }, [trials]);
  return html`<div>
    <header class="section-head"><h2>Best so far</h2><${ScoreScaleSwitch} isLog=${isLogY} /></header>
    <${Chart} title=${`${metric} by epochs spent`} x=${x} lines=${lines} xLabel="epochs of all trials" isLogY=${isLogY} emptyText="No trial has a score yet." formatX=${(value) => formatNumber(Math.round(value))} />
  </div>`;
}

function Importance({ sweep }) {
  const importance = useResource(`v1/sweeps/${sweep.id}/importance`, { everyMs: ENDED.has(sweep.state) ? 0 : 30000 });
  const names = nameParameters(Object.keys(sweep.spec.space));
  return html`<div>
    <header class="section-head"><h2>Importance of the parameters</h2></header>
    <${Loaded} resource=${importance} lines=${4}>
      ${({ parameters, explained, num_trials: count, epochs }) =>
        !parameters.length
          ? html`<p class="card dim">It is computed when ten trials have a score.</p>`
          : html`<${Table} class="cards importance" label="Importance of the parameters" head=${["Parameter", "Importance", "Share#", "± Deviation#"]} rows=${parameters.map((one) => [one.pointer, [html`<span title=${one.pointer}>${names.get(one.pointer) || one.pointer}</span>`, html`<${DeviationBar} value=${one.importance} deviation=${one.deviation} />`, formatPercent(one.importance), `± ${formatPercent(one.deviation)}`]])} />
              <p class="dim after">${explained > 0 ? `The parameters explain ${formatPercent(explained, 0)} of the differences between ${formatCount(count, "trial")} after ${formatCount(epochs, "epoch")}.` : "The parameters do not explain the scores yet: do not trust these shares."}</p>`}
    <//>
  </div>`;
}

/** A bar, and above its end a line that spans a standard deviation in both directions. @param {{value: number, deviation: number}} properties */
function DeviationBar({ value, deviation }) {
  const toPercent = (share) => `${100 * Math.min(Math.max(share, 0), 1)}%`;
  const low = Math.max(value - deviation, 0);
  return html`<svg class="deviation-bar" aria-hidden="true">
    <rect class="track" width="100%" height="10" y="3" rx="2" />
    <rect class="share" width=${toPercent(value)} height="10" y="3" rx="2" />
    <line x1=${toPercent(low)} x2=${toPercent(value + deviation)} y1="8" y2="8" />
  </svg>`;
}

/** The parts of a rung, and their names in the table. */
const PARTS = /** @type {[string, string][]} */ ([["promoted", "Promoted"], ["succeeded", "Complete"], ["waiting", "Waiting"], ["running", "Running"], ["stopped", "Stopped"], ["failed", "Failed"]]);

function Ladder({ sweep, trials }) {
  const rungs = buildLadder(trials, sweep.objective.direction);
  if (!rungs.length) return null;
  const total = (rung) => PARTS.reduce((sum, [part]) => sum + rung[part], 0);
  const most = Math.max(...rungs.map(total));
  const shown = PARTS.filter(([part]) => rungs.some((rung) => rung[part] > 0));
  return html`<section>
    <header class="section-head"><h2>${rungs.length > 1 ? "Ladder of milestones" : "Trials by state"}</h2>
      <ul class="legend">${shown.map(([part, name]) => html`<li key=${part}><span class=${`rung-dot rung-${part}`}></span>${name}</li>`)}</ul>
    </header>
    <${Table} class="cards ladder" label="Ladder of milestones" head=${["Milestone", "Trials", "Reached#", ...shown.map(([, name]) => `${name}#`), `Best ${formatMetricName(sweep.objective.metric)}#`]} rows=${rungs.map((rung) => [
      rung.epochs,
      [formatCount(rung.epochs, "epoch"), html`<span class="rung" aria-hidden="true">${shown.filter(([part]) => rung[part] > 0).map(([part]) => html`<span key=${part} class=${`rung-${part}`} style=${{ width: `${(100 * rung[part]) / most}%` }}></span>`)}</span>`, rung.reached, ...shown.map(([part]) => rung[part] || html`<span class="dim">0</span>`), rung.best],
    ])} />
  </section>`;
}
