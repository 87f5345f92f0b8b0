// The settings of charts, in the address: axis, smoothing, logarithmic scales and zoom.
import { html, useState } from "../lib/preact.js";
import { changeQuery } from "../lib/router.js";
import { Segments } from "./controls.js";

const AXES = /** @type {[string, string][]} */ ([["step", "Step"], ["epoch", "Epoch"], ["time", "Time"]]);

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

/** The controls. A small screen shows them after a press on a button. */
export function CurveControls({ settings }) {
  const [isOpen, setOpen] = useState(false);
  const toggle = (name, isOn, text) => html`<label class="switch">
    <input type="checkbox" checked=${isOn} onChange=${() => changeQuery({ [name]: isOn ? null : "1" })} /> ${text}
  </label>`;
  return html`
    <button type="button" class="unfold" aria-expanded=${String(isOpen)} onClick=${() => setOpen(!isOpen)}>Chart settings</button>
    <div class=${isOpen ? "toolbar" : "toolbar folded"} role="group" aria-label="Charts">
      <${Segments} label="Horizontal axis" chosen=${settings.x} options=${AXES} onChoose=${(value) => changeQuery({ x: value === "step" ? null : value, from: null, to: null })} />
      <label class="slider">Smoothing
        <input type="range" min="0" max="0.99" step="0.01" value=${settings.smoothing} onInput=${(event) => changeQuery({ smoothing: Number(event.target.value) || null })} />
        <output>${settings.smoothing.toFixed(2)}</output>
      </label>
      ${toggle("logx", settings.isLogX, "Log x")} ${toggle("logy", settings.isLogY, "Log y")}
      ${settings.from !== null && html`<button type="button" onClick=${() => changeQuery({ from: null, to: null })}>Reset zoom</button>`}
      <span class="dim hint">Drag over a chart to zoom, double-click to reset</span>
    </div>
  `;
}
