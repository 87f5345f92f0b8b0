// How the score depends on each parameter.
import { html, useMemo } from "../../lib/preact.js";
import { COLORS } from "../../lib/colors.js";
import { formatMetricName } from "../../lib/format.js";
import { formatParameter, nameParameters } from "../../lib/sweeps.js";
import { ParallelCoordinates, ScatterPlot } from "../../components/comparison.js";
import { EmptyState } from "../../components/feedback.js";
import { ScoreScaleSwitch } from "../../components/sweep_parts.js";

const MAX_AXES = 10;
const BEST_COLOR = COLORS[1];

export function ParametersTab({ sweep, trials, query }) {
  const { space } = sweep.spec;
  const pointers = Object.keys(space);
  const names = nameParameters(pointers);
  const metric = formatMetricName(sweep.objective.metric);
  const isLogY = query.get("logy") === "1";
  const ranked = useMemo(() => rankTrials(trials, sweep.objective.direction), [trials]);
  if (!ranked.length) return html`<${EmptyState} icon="sweeps" title="No scores yet"><p>The charts appear when the first trial has a score.</p><//>`;
  const best = ranked[ranked.length - 1].number;
  const format = (pointer, value) => (space[pointer].type === "choice" && value !== undefined ? formatParameter(value) : value);
  const axes = [...pointers.slice(0, MAX_AXES).map((pointer) => buildAxis(names.get(pointer) || pointer, space[pointer])), { name: metric, range: [ranked[0].best_score, ranked[ranked.length - 1].best_score], ...(isLogY && { isLog: true }) }];
  const rows = ranked.map((trial, index) => ({
    id: String(trial.number),
    label: `trial ${trial.number}`,
    color: trial.number === best ? BEST_COLOR : `color-mix(in oklab, var(--accent) ${Math.round((100 * index) / ranked.length)}%, var(--line))`,
    width: trial.number === best ? 2.6 : 1.4,
    values: [...pointers.slice(0, MAX_AXES).map((pointer) => format(pointer, trial.parameters[pointer])), trial.best_score],
  }));
  return html`
    <header class="section-head">
      <p class="dim">Lines are stronger the better the score is. The best trial is orange.</p>
      <${ScoreScaleSwitch} isLog=${isLogY} />
    </header>
    <div class="charts">
      <${ParallelCoordinates} title="All parameters" axes=${axes} rows=${rows} hasNames=${false} isWide />
      ${pointers.map((pointer) => {
        const { type, log = false, values = [] } = space[pointer];
        const points = ranked.map((trial) => ({ ...(trial.number === best ? { id: "best", label: "best trial", color: BEST_COLOR } : { id: "trial", label: "other trials", color: COLORS[0] }), x: format(pointer, trial.parameters[pointer]), y: trial.best_score }));
        return html`<${ScatterPlot} key=${pointer} xLabel=${names.get(pointer) || pointer} yLabel=${metric} points=${points} isLogX=${log} isLogY=${isLogY} names=${type === "choice" ? values.map(formatParameter) : null} hasLegend=${false} />`;
      })}
    </div>
  `;
}

/** The trials with a score, the best one last. @param {any[]} trials @param {string} direction */
function rankTrials(trials, direction) {
  const sign = direction === "min" ? -1 : 1;
  return trials.filter((trial) => trial.best_score !== null).sort((a, b) => sign * (a.best_score - b.best_score) || b.number - a.number);
}

/** @param {string} name @param {any} parameter of the space */
function buildAxis(name, parameter) {
  if (parameter.type === "choice") return { name, range: parameter.values.map(formatParameter) };
  return { name, range: [parameter.low, parameter.high], isLog: parameter.log };
}
