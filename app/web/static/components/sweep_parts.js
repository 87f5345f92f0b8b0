// Parts that several pages of sweeps share.
import { html } from "../lib/preact.js";
import { formatPercent } from "../lib/format.js";
import { changeQuery } from "../lib/router.js";
import { describeBudget } from "../lib/sweeps.js";

/** How much of its budget a sweep has used. */
export function BudgetProgress({ sweep, isShort = false }) {
  const { share, text } = describeBudget(sweep.budget, isShort);
  return html`<span class="job-progress"><progress max="1" value=${share} aria-label=${`Budget used: ${formatPercent(share, 0)}`}></progress><span class="dim nowrap">${text}</span></span>`;
}

/** The switch to a logarithmic axis of the score, which all charts of a sweep share. @param {{isLog: boolean}} properties */
export function ScoreScaleSwitch({ isLog }) {
  return html`<label class="switch"><input type="checkbox" checked=${isLog} onChange=${() => changeQuery({ logy: isLog ? null : "1" })} /> Log score</label>`;
}
