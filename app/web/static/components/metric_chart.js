// A chart of series of the API, which share one grid of x values.
import { html, useMemo } from "../lib/preact.js";
import { formatDuration, formatNumber } from "../lib/format.js";
import { changeQuery } from "../lib/router.js";
import { toCurve } from "../lib/series.js";
import { Chart } from "./chart.js";

/**
 * @typedef {{key: string, label: string, color: string, dash?: number[], x: number[], series: {min: any[], max: any[], last: any[]}}} Source
 */

/**
 * @param {{title: string, settings: import("./curve_controls.js").CurveSettings, sources: Source[], height?: number, focus?: string | null,
 *   onFocus?: (key: string | null) => void, hasLegend?: boolean, emptyText?: string}} properties
 */
export function MetricChart({ title, settings, sources, height, focus, onFocus, hasLegend, emptyText }) {
  const { x, lines } = useMemo(() => alignSources(sources), sources.flatMap((source) => [source.key, source.series]));
  const zoom = (range) => changeQuery(range ? { from: String(range[0]), to: String(range[1]) } : { from: null, to: null });
  return html`<${Chart}
    title=${title}
    x=${x}
    lines=${lines}
    height=${height}
    xLabel=${settings.x === "time" ? "time" : settings.x}
    formatX=${settings.x === "time" ? formatDuration : (value) => formatNumber(Math.round(value))}
    smoothing=${settings.smoothing}
    isLogX=${settings.isLogX}
    isLogY=${settings.isLogY}
    focus=${focus}
    onFocus=${onFocus}
    onZoom=${zoom}
    hasLegend=${hasLegend}
    emptyText=${emptyText}
  />`;
}

/**
 * Put sources with different grids onto one ascending grid, with null between the values of each.
 * @param {Source[]} sources
 */
export function alignSources(sources) {
  const isShared = sources.every((source) => source.x === sources[0].x);
  const x = isShared ? sources[0]?.x || [] : [...new Set(sources.flatMap((source) => source.x))].sort((a, b) => a - b);
  const positions = isShared ? null : new Map(x.map((value, index) => [value, index]));
  const lines = sources.map(({ key, label, color, dash, x: own, series }) => {
    const place = (values) => {
      const curve = toCurve(values);
      if (!positions) return curve;
      const placed = /** @type {import("../lib/series.js").Curve} */ (new Array(x.length).fill(null));
      own.forEach((value, index) => (placed[/** @type {number} */ (positions.get(value))] = curve[index]));
      return placed;
    };
    return { key, label, color, dash, values: place(series.last), min: place(series.min), max: place(series.max) };
  });
  return { x, lines };
}
