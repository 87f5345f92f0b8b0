// The settings of charts, in the address: axis, smoothing, logarithmic scales and zoom.
import { html } from "../lib/preact.js";
import { changeQuery } from "../lib/router.js";

const AXES = [["step", "Step"], ["epoch", "Epoch"], ["time", "Time"]];

/** @param {URLSearchParams} query */
export function readCurveSettings(query) {
  return {
    x: query.get("x") || "step",
    smoothing: Math.min(Math.max(Number(query.get("smoothing")) || 0, 0), 0.99),
    isLogX: query.get("logx") === "1",
    isLogY: query.get("logy") === "1",
    from: query.get("from"),
    to: query.get("to"),
  };
}

/** @typedef {ReturnType<typeof readCurveSettings>} CurveSettings */

/** @param {{settings: CurveSettings}} properties */
export function CurveControls({ settings }) {
  const toggle = (name, isOn, text) => html`<label class="switch">
    <input type="checkbox" checked=${isOn} onChange=${() => changeQuery({ [name]: isOn ? null : "1" })} /> ${text}
  </label>`;
  return html`<div class="toolbar" role="group" aria-label="Charts">
    <div class="segments" role="group" aria-label="Horizontal axis">
      ${AXES.map(
        ([value, text]) => html`<button key=${value} type="button" aria-pressed=${settings.x === value ? "true" : "false"} onClick=${() => changeQuery({ x: value === "step" ? null : value, from: null, to: null })}>${text}</button>`,
      )}
    </div>
    <label class="slider">Smoothing
      <input type="range" min="0" max="0.99" step="0.01" value=${settings.smoothing} onInput=${(event) => changeQuery({ smoothing: Number(event.target.value) || null })} />
      <output>${settings.smoothing.toFixed(2)}</output>
    </label>
    ${toggle("logx", settings.isLogX, "Log x")} ${toggle("logy", settings.isLogY, "Log y")}
    ${settings.from !== null && html`<button type="button" onClick=${() => changeQuery({ from: null, to: null })}>Reset zoom</button>`}
    <span class="dim hint">Drag over a chart to zoom, double-click to reset</span>
  </div>`;
}
