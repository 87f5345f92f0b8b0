// Compares several things: in a table, and in plots of how a metric depends on the fields of jobs.
import { html, useEffect, useRef, useState } from "../lib/preact.js";
import { formatNumber, formatValue } from "../lib/format.js";
import { Chart } from "./chart.js";
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
 */
function buildScale(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  if (known.length && known.every((value) => typeof value === "number" && Number.isFinite(value))) {
    const [low, high] = [Math.min(...known), Math.max(...known)];
    const isLog = low > 0 && high / low >= 10;
    const ticks = low === high ? [low] : listTicks(low, high, isLog);
    const scale = isLog ? Math.log : Number;
    const start = scale(ticks[0]);
    const span = scale(ticks[ticks.length - 1]) - start;
    return { position: (value) => (typeof value !== "number" ? null : span ? (scale(value) - start) / span : 0.5), ticks, isLog };
  }
  const names = [...new Set(known.map(String))].sort();
  return { position: (value) => (value === null || value === undefined ? null : names.length === 1 ? 0.5 : names.indexOf(String(value)) / (names.length - 1)), ticks: names.length > 8 ? [names[0], names[names.length - 1]] : names, isLog: false };
}

/** Lines through the values of each job. The last axis is the metric; there each line has its name. It is drawn in the pixels of its place. */
export function ParallelCoordinates({ axes, rows }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(entry.contentRect.width));
    if (box.current) observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  const scales = axes.map((_, index) => buildScale(rows.map((row) => row.values[index])));
  const hasNames = rows.length <= MAX_NAMES;
  const right = width - (hasNames ? 150 : 50);
  const place = (index) => 70 + (index * (right - 70)) / Math.max(axes.length - 1, 1);
  const level = (share) => HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
  const lines = rows.map((row) => ({ ...row, points: row.values.map((value, index) => [place(index), scales[index].position(value)]).filter(([, share]) => share !== null).map(([x, share]) => [x, level(share)]) }));
  let lowest = -Infinity;
  const names = lines.filter((line) => hasNames && scales[axes.length - 1].position(line.values[axes.length - 1]) !== null).map((line) => ({ ...line, y: line.points[line.points.length - 1][1] })).sort((a, b) => a.y - b.y).map((line) => ({ ...line, y: (lowest = Math.max(line.y + 4, lowest + NAME_HEIGHT)) }));
  const isLast = (index) => index === axes.length - 1;
  return html`<figure class="chart relations" data-axes=${axes.length > 5 || undefined}>
    <figcaption><span class="chart-title">All fields</span></figcaption>
    <div ref=${box}>${width > 0 && html`<svg width=${width} height=${HEIGHT} role="img" aria-label=${`Parallel coordinates of ${axes.join(", ")}. The table of fields has the same values.`}>
      ${lines.map((line) => html`<polyline key=${line.id} points=${line.points.join(" ")} stroke=${line.color} stroke-dasharray=${(line.dash || []).join(" ")}><title>${line.label}</title></polyline>`)}
      ${axes.map((name, index) => html`<g key=${index}>
        <line class="axis" x1=${place(index)} x2=${place(index)} y1=${TOP} y2=${HEIGHT - BOTTOM} />
        <text x=${place(index)} y="12" text-anchor="middle">${name.length > 15 ? `…${name.slice(-14)}` : name}${scales[index].isLog ? ", log" : ""}</text>
        ${!(hasNames && isLast(index)) && scales[index].ticks.map((tick) => html`<text key=${String(tick)} x=${place(index) + (isLast(index) ? 6 : -6)} y=${level(scales[index].position(tick) ?? 0) + 4} text-anchor=${isLast(index) ? "start" : "end"}>${typeof tick === "number" ? Number(tick.toPrecision(3)) : tick.slice(0, 18)}</text>`)}
      </g>`)}
      ${names.map((line) => html`<text key=${line.id} x=${right + 8} y=${line.y}><tspan font-weight="600">${formatNumber(line.values[axes.length - 1])}</tspan> ${line.label.length > 14 ? `${line.label.slice(0, 13)}…` : line.label}</text>`)}
    </svg>`}</div>
  </figure>`;
}

/** A metric over a field: a point for each job. */
export function ScatterPlot({ xLabel, yLabel, points }) {
  const known = points.filter((point) => typeof point.y === "number");
  const x = [...new Set(known.map((point) => point.x))].sort((a, b) => a - b);
  const lines = known.map(({ id, label, color, x: own, y }) => ({ key: id, label, color, values: x.map((value) => (value === own ? y : null)) }));
  return html`<${Chart} title=${`${yLabel} by ${xLabel}`} x=${x} lines=${lines} xLabel=${xLabel} isLogX=${x[0] > 0 && x[x.length - 1] / x[0] >= 10} isPadded hasLegend=${lines.length <= MAX_NAMES} formatX=${(value) => String(Number(value.toPrecision(3)))} />`;
}
