// Compares several things: in a table, and in plots of how a metric depends on the fields of jobs.
import { html, useEffect, useRef, useState } from "../lib/preact.js";
import { formatNumber, formatValue } from "../lib/format.js";
import { Chart, ChartFrame } from "./chart.js";
import { Table } from "./controls.js";

/**
 * @typedef {{key: string, title: any, values: any[], better?: number, notes?: (string | undefined)[]}} Row
 *   better: 1 if larger values are better, -1 if smaller ones are; then the best value is marked
 */

/** @param {{label: string, first: string, names: any[], rows: Row[]}} properties names: the headings of the columns */
export function ComparisonTable({ label, first, names, rows }) {
  const isPair = names.length === 2;
  const cells = /** @param {Row} row */ ({ title, values, better, notes = [] }) => {
    const numbers = values.filter((value) => typeof value === "number");
    const winner = better && numbers.length > 1 ? better * Math.max(...numbers.map((value) => better * value)) : null;
    const format = better ? formatNumber : formatValue;
    const [a, b] = values;
    const difference = isPair && numbers.length === 2 && a !== b ? `${a > b ? "+" : "−"}${format(Number(Math.abs(b - a).toPrecision(4)))}` : "";
    return [title, ...values.map((value, index) => html`<span class=${value !== null && value === winner ? "winner" : ""} title=${notes[index]}>${format(value)}</span>`), ...(isPair ? [html`<span class="dim">${difference}</span>`] : [])];
  };
  const isEqual = (values) => new Set(values.map((value) => JSON.stringify(value))).size === 1;
  return html`<${Table} class="grid" label=${label} head=${[first, ...names.map((name, index) => html`<th scope="col" key=${`name ${index}`}>${name}</th>`), ...(isPair ? [html`<th scope="col" key="difference" title="The first minus the second">Difference</th>`] : [])]}
    rows=${rows.map((row) => [row.key, cells(row), isEqual(row.values) ? "dim" : ""])} />`;
}

const HEIGHT = 266;
const TOP = 30;
const BOTTOM = 12;
const MAX_NAMES = 12;
const NAME_HEIGHT = 14;
const MIN_TICK_SHARE = 0.07; // the distance of two ticks, as a share of the axis

/** Round values, of which the first is at most `low` and the last at least `high`. @param {number} low @param {number} high @param {boolean} isLog */
function listTicks(low, high, isLog) {
  const power = 10 ** Math.floor(Math.log10((high - low) / 3));
  const step = isLog ? 1 : (/** @type {number} */ ([1, 2, 5, 10].find((factor) => factor * power * 3.001 >= high - low))) * power;
  const scale = (value) => (isLog ? Math.log10(value) : value / step);
  const first = Math.floor(scale(low) + 1e-9);
  return Array.from({ length: Math.ceil(scale(high) - 1e-9) - first + 1 }, (_, index) => (isLog ? 10 ** (first + index) : Number(((first + index) * step).toPrecision(12))));
}

/**
 * Map values to positions from 0 to 1: numbers on a linear or a logarithmic scale, everything else in alphabetical order.
 * @param {any[]} values
 * @param {boolean} [isLogChosen] default: logarithmic if the values differ by a factor of 10
 * @param {boolean} [isExact] the scale ends at the lowest and the highest value, not at round ones
 */
function buildScale(values, isLogChosen, isExact = false) {
  const known = values.filter((value) => value !== null && value !== undefined);
  if (known.length && known.every((value) => typeof value === "number" && Number.isFinite(value))) {
    const [low, high] = [Math.min(...known), Math.max(...known)];
    const isLog = low > 0 && (isLogChosen ?? high / low >= 10);
    const scale = isLog ? Math.log : Number;
    const all = low === high ? [low] : listTicks(low, high, isLog);
    const margin = MIN_TICK_SHARE * (scale(high) - scale(low));
    const ticks = isExact && low < high ? [low, ...all.filter((tick) => scale(tick) > scale(low) + margin && scale(tick) < scale(high) - margin), high] : all;
    const start = scale(ticks[0]);
    const span = scale(ticks[ticks.length - 1]) - start;
    return { position: (value) => (typeof value !== "number" ? null : span ? (scale(value) - start) / span : 0.5), ticks, isLog };
  }
  const names = [...new Set(known.map(String))].sort();
  return { position: (value) => (value === null || value === undefined ? null : names.length === 1 ? 0.5 : names.indexOf(String(value)) / (names.length - 1)), ticks: names.length > 8 ? [names[0], names[names.length - 1]] : names, isLog: false };
}

/**
 * @typedef {{name: string, range?: any[], isLog?: boolean}} Axis
 *   range: values that the axis contains besides those of the rows
 * @typedef {{id: string, label: string, color: string, dash?: number[], width?: number, values: any[]}} ParallelRow
 */

/**
 * Lines through the values of each row. The last axis is the metric; there each line has its name if there are few. It is
 * drawn in the pixels of its place, later rows above earlier ones.
 * @param {{title?: string, axes: Axis[], rows: ParallelRow[], hasNames?: boolean, isWide?: boolean}} properties
 */
export function ParallelCoordinates({ title = "All fields", axes, rows, hasNames = rows.length <= MAX_NAMES, isWide = axes.length > 5 }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(entry.contentRect.width));
    if (box.current) observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  const scales = axes.map(({ range = [], isLog }, index) => buildScale([...rows.map((row) => row.values[index]), ...range], isLog, range.length > 0));
  const right = width - (hasNames ? 150 : 50);
  const place = (index) => 70 + (index * (right - 70)) / Math.max(axes.length - 1, 1);
  const level = (share) => HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
  const lines = rows.map((row) => ({ ...row, points: row.values.flatMap((value, index) => {
    const share = scales[index].position(value);
    return share === null ? [] : [{ index, x: place(index), y: level(share) }];
  }) }));
  let lowest = -Infinity;
  const names = lines.filter((line) => hasNames && scales[axes.length - 1].position(line.values[axes.length - 1]) !== null).map((line) => ({ ...line, y: line.points[line.points.length - 1].y })).sort((a, b) => a.y - b.y).map((line) => ({ ...line, y: (lowest = Math.max(line.y + 4, lowest + NAME_HEIGHT)) }));
  const isLast = (index) => index === axes.length - 1;
  const buildTable = () => ({ first: "name", columns: axes.map((axis) => axis.name), rows: rows.map((row) => [row.label, ...row.values.map((value) => (typeof value === "number" ? formatNumber(value) : formatValue(value)))]) });
  return html`<${ChartFrame} title=${title} buildTable=${buildTable} height=${HEIGHT} class=${isWide ? "relations relations-wide" : "relations"}>
    <div ref=${box}>${width > 0 && html`<svg width=${width} height=${HEIGHT} role="img" aria-label=${`Parallel coordinates of ${axes.map((axis) => axis.name).join(", ")}. The table of this chart has the same values.`}>
      ${lines.map((line) => html`<g key=${line.id} stroke=${line.color} stroke-width=${line.width || 1.6}>
        <path d=${drawSegments(line.points, true)} stroke-dasharray=${(line.dash || []).join(" ")}><title>${line.label}</title></path>
        <path class="gap" d=${drawSegments(line.points, false)} />
      </g>`)}
      ${axes.map(({ name }, index) => html`<g key=${index}>
        <line class="axis" x1=${place(index)} x2=${place(index)} y1=${TOP} y2=${HEIGHT - BOTTOM} />
        <text x=${place(index)} y="12" text-anchor="middle">${name.length > 15 ? `…${name.slice(-14)}` : name}${scales[index].isLog ? ", log" : ""}</text>
        ${!(hasNames && isLast(index)) && scales[index].ticks.map((tick) => html`<text key=${String(tick)} x=${place(index) + (isLast(index) ? 6 : -6)} y=${level(scales[index].position(tick) ?? 0) + 4} text-anchor=${isLast(index) ? "start" : "end"}>${typeof tick === "number" ? Number(tick.toPrecision(3)) : tick.slice(0, 18)}</text>`)}
      </g>`)}
      ${names.map((line) => html`<text key=${line.id} x=${right + 8} y=${line.y}><tspan font-weight="600">${formatNumber(line.values[axes.length - 1])}</tspan> ${line.label.length > 14 ? `${line.label.slice(0, 13)}…` : line.label}</text>`)}
    </svg>`}</div>
  <//>`;
}

/**
 * The segments of a line between axes side by side, or those that pass axes on which the row has no value.
 * @param {{index: number, x: number, y: number}[]} points
 * @param {boolean} isAdjacent
 */
function drawSegments(points, isAdjacent) {
  return points.slice(1).map((point, index) => ({ from: points[index], to: point })).filter(({ from, to }) => (to.index - from.index === 1) === isAdjacent).map(({ from, to }) => `M${from.x} ${from.y}L${to.x} ${to.y}`).join("");
}

/**
 * A metric over a field: a point for each row. Rows with the same group have one color.
 * @param {{xLabel: string, yLabel: string, points: {id: string, label: string, color: string, x: any, y: any}[], isLogX?: boolean,
 *   isLogY?: boolean, names?: string[] | null, hasLegend?: boolean}} properties names: x is one of these names
 */
export function ScatterPlot({ xLabel, yLabel, points, isLogX, isLogY = false, names = null, hasLegend }) {
  const known = points
    .filter((point) => typeof point.y === "number" && (names ? names.includes(point.x) : typeof point.x === "number"))
    .map((point) => ({ ...point, x: names ? names.indexOf(point.x) : point.x }))
    .sort((a, b) => a.x - b.x);
  const x = known.map((point) => point.x);
  const lines = [...new Map(points.map((point) => [point.id, point])).values()]
    .filter(({ id }) => known.some((point) => point.id === id))
    .map(({ id, label, color }) => ({ key: id, label, color, shape: /** @type {"points"} */ ("points"), values: known.map((point) => (point.id === id ? point.y : null)) }));
  return html`<${Chart} title=${`${yLabel} by ${xLabel}`} x=${x} lines=${lines} xLabel=${xLabel} isLogX=${isLogX ?? (x[0] > 0 && x[x.length - 1] / x[0] >= 10)} isLogY=${isLogY} names=${names} isPadded hasLegend=${hasLegend ?? lines.length <= MAX_NAMES} formatX=${(value) => String(Number(value.toPrecision(3)))} emptyText="No values" />`;
}
