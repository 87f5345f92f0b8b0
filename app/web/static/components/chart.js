// Line charts with uPlot, and their settings in the address. Every chart has a table with the same values.
import { html, useEffect, useMemo, useRef, useState } from "../lib/preact.js";
import { readToken } from "../lib/colors.js";
import { formatDuration, formatNumber, formatTick } from "../lib/format.js";
import { changeQuery } from "../lib/router.js";
import { findLast, keepPositive, smooth, toCurve } from "../lib/series.js";
import { Segments } from "./controls.js";
import { Icon } from "./icon.js";

/**
 * @typedef {{key: string, label: string, color: string, dash?: number[], values: import("../lib/series.js").Curve,
 *   min?: import("../lib/series.js").Curve, max?: import("../lib/series.js").Curve, shape?: "line" | "steps" | "points"}} Line
 * @typedef {{title: string, x: number[], lines: Line[], xLabel?: string, height?: number, smoothing?: number, isLogX?: boolean,
 *   isLogY?: boolean, focus?: string | null, onFocus?: (key: string | null) => void, onZoom?: (range: [number, number] | null) => void,
 *   formatX?: (value: number) => string, hasLegend?: boolean, emptyText?: string, isPadded?: boolean, softMax?: number, names?: string[] | null}} ChartProperties
 *   isPadded: keeps points off the borders; softMax: the axis y begins at zero and reaches at least this value;
 *   names: x is an index of these names
 */

const MAX_BANDS = 8;
const MAX_MARKERS = 20;
const LEGEND_HEIGHT = 18;
const MAX_TABLE_ROWS = 200;

/** @param {ChartProperties} properties */
export function Chart(properties) {
  const { title, x, lines, xLabel = "step", height = 240, hasLegend = true } = properties;
  const formatX = properties.names ? (value) => properties.names?.[value] : formatNumber;
  const buildTable = () => ({ first: xLabel, columns: lines.map((line) => line.label), rows: x.map((value, index) => [formatX(value), ...lines.map((line) => formatNumber(line.values[index]))]) });
  return html`<${ChartFrame} title=${title} buildTable=${buildTable} height=${height} foot=${hasLegend && lines.length > 0 && html`<${Legend} ...${properties} />`}>
    ${lines.length ? html`<${Plot} ...${properties} height=${height} />` : html`<div class="plot plot-empty" style=${{ minHeight: `${height + LEGEND_HEIGHT}px` }}>${properties.emptyText}</div>`}
  <//>`;
}

/**
 * A chart with its title and a button that shows its values as a table, which is built only then.
 * @param {{title: string, buildTable: () => {first: string, columns: string[], rows: any[][]}, height: number, class?: string, foot?: any, children: any}} properties
 */
export function ChartFrame({ title, buildTable, height, class: name = "", foot, children }) {
  const [isTable, setTable] = useState(false);
  const table = isTable ? buildTable() : null;
  return html`<figure class=${`chart ${name}`}>
    <figcaption>
      <span class="chart-title">${title}</span>
      <button type="button" class="bare" aria-pressed=${isTable ? "true" : "false"} aria-label=${`${title} as a table`} onClick=${() => setTable(!isTable)}>
        <${Icon} name=${isTable ? "compare" : "table"} />
      </button>
    </figcaption>
    ${table?.rows.length ? html`<${ValueTable} title=${title} ...${table} height=${height} />` : children}
    ${foot}
  </figure>`;
}

/** @param {ChartProperties} properties */
function Legend({ lines, focus, onFocus }) {
  return html`<ul class="legend">
    ${lines.slice(0, 24).map(
      (line) => html`<li
        key=${line.key}
        class=${focus && focus !== line.key ? "faded" : ""}
        onPointerEnter=${() => onFocus?.(line.key)}
        onPointerLeave=${() => onFocus?.(null)}
      >
        ${line.shape === "points" ? html`<span class="dot" style=${{ background: line.color }}></span>` : html`<${Swatch} color=${line.color} dash=${line.dash} />`}<span class="clip">${line.label}</span> ${countValues(line) > 1 && line.shape !== "points" && html`<span class="dim">last</span>`} ${(countValues(line) === 1 || line.shape !== "points") && html`<b>${formatNumber(findLast(line.values))}</b>`}
      </li>`,
    )}
  </ul>`;
}

/** The color and the dash pattern of a run. */
export function Swatch({ color, dash = [] }) {
  return html`<svg class="swatch" viewBox="0 0 26 8" aria-hidden="true"><path d="M0 4h26" stroke=${color} stroke-width="2.5" stroke-dasharray=${dash.join(" ")} /></svg>`;
}

/** @param {ChartProperties} properties */
function Plot({ title, x, lines, xLabel, height = 240, smoothing = 0, isLogX = false, isLogY = false, focus = null, onFocus, onZoom, formatX = formatNumber, isPadded = false, softMax, names = null }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const plot = useRef(/** @type {any} */ (null));
  const handlers = useRef({ onFocus, onZoom });
  handlers.current = { onFocus, onZoom };
  const hasBands = lines.length <= MAX_BANDS && lines.some((line) => line.min);
  const columns = useMemo(() => buildColumns(x, lines, smoothing, isLogX, isLogY, hasBands), [x, lines, smoothing, isLogX, isLogY, hasBands]);
  const shape = `${lines.map((line) => line.key + line.color + hasMarkers(line)).join()}|${isLogX}|${isLogY}|${hasBands}|${height}|${names}`;

  useEffect(() => {
    const element = /** @type {HTMLDivElement} */ (box.current);
    const keys = lines.map((line) => line.key);
    const create = () => {
      plot.current?.destroy();
      const options = buildOptions({ lines, xLabel: xLabel || "step", height, width: element.clientWidth || 320, isLogX, isLogY, hasBands, formatX, isZoomable: Boolean(onZoom), isPadded, softMax, names });
      options.hooks = {
        setSeries: [(_, index) => index !== null && handlers.current.onFocus?.(index > 0 ? keys[index - 1] : null)],
        setSelect: [
          (chart) => {
            if (chart.select.width > 4) handlers.current.onZoom?.([chart.posToVal(chart.select.left, "x"), chart.posToVal(chart.select.left + chart.select.width, "x")]);
            chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          },
        ],
      };
      plot.current = new uPlot(options, columns, element);
    };
    create();
    const observer = new ResizeObserver(() => plot.current.setSize({ width: element.clientWidth || 320, height }));
    observer.observe(element);
    addEventListener("themechange", create);
    return () => {
      observer.disconnect();
      removeEventListener("themechange", create);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape]);
  // One redraw for all changes of an animation frame: setData computes every scale again.
  useEffect(() => {
    const frame = requestAnimationFrame(() => plot.current?.setData(columns));
    return () => cancelAnimationFrame(frame);
  }, [columns]);
  useEffect(() => {
    const index = focus === null ? null : lines.findIndex((line) => line.key === focus) + 1;
    plot.current?.setSeries(index || null, { focus: true }, false);
  }, [focus]);
  const summary = lines.map((line) => `${line.label}: ${formatNumber(findLast(line.values))}`).slice(0, 10).join(", ");
  return html`<div class="plot" ref=${box} role="img" aria-label=${`${title}. Last values: ${summary || "none"}`} style=${{ minHeight: `${height}px` }} onDblClick=${() => onZoom?.(null)}></div>`;
}

/** @param {Line} line */
function countValues(line) {
  return line.values.filter((value) => value !== null).length;
}

/** A line with few points shows each of them. @param {Line} line */
function hasMarkers(line) {
  return line.shape ? line.shape === "points" : countValues(line) < MAX_MARKERS;
}

/** The columns of uPlot: x, the lines, and the two borders of each band. */
function buildColumns(x, lines, smoothing, isLogX, isLogY, hasBands) {
  const prepare = (values) => (isLogY ? keepPositive(values) : values);
  const columns = [x, ...lines.map((line) => prepare(smooth(line.values, smoothing)))];
  if (hasBands) for (const line of lines) columns.push(prepare(line.min || line.values), prepare(line.max || line.values));
  if (!isLogX) return columns;
  const first = x.findIndex((value) => value > 0);
  return first > 0 ? columns.map((column) => column.slice(first)) : columns;
}

/** @param {{lines: Line[], xLabel: string, height: number, width: number, isLogX: boolean, isLogY: boolean, hasBands: boolean, formatX: (value: number) => string, isZoomable: boolean, isPadded: boolean, softMax?: number, names: string[] | null}} settings */
function buildOptions({ lines, xLabel, height, width, isLogX, isLogY, hasBands, formatX, isZoomable, isPadded, softMax, names }) {
  const axis = { stroke: readToken("--text-dim"), grid: { stroke: readToken("--line"), width: 1 }, ticks: { stroke: readToken("--line"), size: 4 }, font: "11px system-ui, sans-serif" };
  const format = (_, splits, _axis, _space, increment) => splits.map((value) => (value === null ? "" : isLogY ? String(Number(value.toPrecision(3))) : formatTick(value, increment)));
  const series = lines.map((line) => ({ label: line.label, stroke: line.color, dash: line.dash, width: 1.5, spanGaps: true, ...getPaths(line.shape), points: { show: hasMarkers(line), ...(line.shape === "points" ? { size: isPadded ? 8 : 6, fill: line.color } : { size: 5 }) } }));
  const borders = hasBands ? lines.flatMap(() => [0, 1].map(() => ({ stroke: "transparent", points: { show: false }, spanGaps: true }))) : [];
  const bands = hasBands
    ? lines.map((line, index) => ({ series: [lines.length + 2 + 2 * index, lines.length + 1 + 2 * index], fill: `${line.color}22` }))
    : [];
  const pad = (_, low, high) => (names ? [-0.5, names.length - 0.5] : isLogX ? [low / (high / low) ** 0.08, high * (high / low) ** 0.08] : [low - 0.08 * (high - low || 1), high + 0.08 * (high - low || 1)]);
  const soft = { min: { pad: 0.1, soft: 0, mode: 1 }, max: { pad: 0.1, soft: softMax, mode: 1 } };
  return /** @type {any} */ ({
    width,
    height,
    legend: { show: false },
    cursor: { focus: { prox: 24 }, drag: { x: isZoomable, y: false, setScale: false } },
    focus: { alpha: 0.2 },
    scales: { x: { time: false, distr: isLogX ? 3 : 1, ...(isPadded && { range: pad }) }, y: { distr: isLogY ? 3 : 1, ...(softMax && { range: soft }) } },
    axes: [{ ...axis, size: 26, label: xLabel, labelSize: 18, labelGap: 0, labelFont: axis.font, ...(names && { splits: () => names.map((_, index) => index) }), ...(isLogX && { grid: { ...axis.grid, filter: keepPowers }, ticks: { ...axis.ticks, filter: keepPowers } }), values: (_, splits) => splits.map((value) => (value === null ? "" : names ? shorten(names[value]) : formatX(value))) }, { ...axis, size: 56, space: 24, values: format }],
    series: [{ label: xLabel }, ...series, ...borders],
    bands,
  });
}

/** @param {Line["shape"]} shape */
function getPaths(shape) {
  if (shape === "points") return { paths: () => null };
  return shape === "steps" ? { paths: uPlot.paths.stepped?.({ align: 1 }) } : {};
}

/** The grid of a logarithmic axis has lines at powers of ten only. @param {any} _ @param {number[]} splits */
function keepPowers(_, splits) {
  return splits.map((value) => (value !== null && Math.abs(Math.log10(value) % 1) < 1e-9 ? value : null));
}

/** @param {string} name */
function shorten(name) {
  return name.length > 16 ? `${name.slice(0, 15)}…` : name;
}

/** @param {{title: string, first: string, columns: string[], rows: any[][], height: number}} properties */
function ValueTable({ title, first, columns, rows, height }) {
  const step = Math.max(Math.ceil(rows.length / MAX_TABLE_ROWS), 1);
  const shown = rows.map((row, index) => ({ row, index })).filter(({ index }) => index % step === 0 || index === rows.length - 1);
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${`${title}, values`} style=${{ maxHeight: `${height}px` }}>
    <table class="dense">
      <caption class="sr-only">${title}</caption>
      <thead>
        <tr><th scope="col">${first}</th>${columns.map((name) => html`<th scope="col" class="number" key=${name}>${name}</th>`)}</tr>
      </thead>
      <tbody>
        ${shown.map(({ row, index }) => html`<tr key=${index}><th scope="row">${row[0]}</th>${row.slice(1).map((value, number) => html`<td class="number" key=${number}>${value}</td>`)}</tr>`)}
      </tbody>
    </table>
  </div>`;
}

/** A small curve without axes. */
export function Sparkline({ values, label }) {
  const finite = /** @type {number[]} */ (values.filter((value) => value !== null));
  if (finite.length < 2) return html`<span class="dim">–</span>`;
  const low = Math.min(...finite);
  const span = Math.max(...finite) - low || 1;
  const points = values.flatMap((value, index) => (value === null ? [] : [`${((index / (values.length - 1)) * 78 + 1).toFixed(1)},${(17 - ((value - low) / span) * 15).toFixed(1)}`]));
  return html`<svg class="sparkline" viewBox="0 0 80 18" role="img" aria-label=${label}><polyline points=${points.join(" ")} /></svg>`;
}

/**
 * @typedef {{key: string, label: string, color: string, dash?: number[], x: number[], series: {min: any[], max: any[], last: any[]}}} Source
 */

/**
 * @param {{title: string, settings: CurveSettings, sources: Source[], height?: number, focus?: string | null,
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
function alignSources(sources) {
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
