// Plots of how a metric depends on the fields of jobs, as SVG.
import { html } from "../lib/preact.js";
import { formatNumber } from "../lib/format.js";

const WIDTH = 900;
const HEIGHT = 240;
const TOP = 34;
const BOTTOM = 18;

/**
 * Map values to positions from 0 to 1: numbers on a linear or a logarithmic scale, everything else in alphabetical order.
 * @param {any[]} values
 */
export function buildScale(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  const numbers = known.filter((value) => typeof value === "number" && Number.isFinite(value));
  if (numbers.length && numbers.length === known.length) {
    const low = Math.min(...numbers);
    const high = Math.max(...numbers);
    const isLog = low > 0 && high / low >= 50;
    const position = (value) => (high === low ? 0.5 : isLog ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
    return { position: (value) => (typeof value === "number" ? position(value) : null), ticks: high === low ? [low] : [low, high], isLog };
  }
  const names = [...new Set(known.map(String))].sort();
  return { position: (value) => (value === null || value === undefined ? null : names.length === 1 ? 0.5 : names.indexOf(String(value)) / (names.length - 1)), ticks: names.length > 8 ? [names[0], names[names.length - 1]] : names, isLog: false };
}

export function ParallelCoordinates({ axes, rows }) {
  const scales = axes.map((_, index) => buildScale(rows.map((row) => row.values[index])));
  const place = (index) => 60 + (index * (WIDTH - 120)) / Math.max(axes.length - 1, 1);
  const level = (share) => HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
  return html`<svg class="relations" viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label=${`Parallel coordinates of ${axes.join(", ")}. The table of fields has the same values.`}>
    ${axes.map(
      (name, index) => html`<g key=${index}>
        <line class="axis" x1=${place(index)} x2=${place(index)} y1=${TOP} y2=${HEIGHT - BOTTOM} />
        <text x=${place(index)} y="12" text-anchor="middle">${name.length > 15 ? `…${name.slice(-14)}` : name}${scales[index].isLog ? ", log" : ""}</text>
        ${scales[index].ticks.map((tick) => html`<text class="tick" key=${String(tick)} x=${place(index) + 5} y=${level(scales[index].position(tick) ?? 0) + 3}>${typeof tick === "number" ? formatNumber(tick, 3) : String(tick).slice(0, 18)}</text>`)}
      </g>`,
    )}
    ${rows.map((row) => {
      const points = row.values.flatMap((value, index) => {
        const share = scales[index].position(value);
        return share === null ? [] : [`${place(index)},${level(share)}`];
      });
      return html`<polyline key=${row.id} points=${points.join(" ")} stroke=${row.color} stroke-dasharray=${(row.dash || []).join(" ")}><title>${row.label}</title></polyline>`;
    })}
  </svg>`;
}

export function ScatterPlot({ xLabel, yLabel, points }) {
  const known = points.filter((point) => typeof point.y === "number");
  const horizontal = buildScale(known.map((point) => point.x));
  const vertical = buildScale(known.map((point) => point.y));
  return html`<figure class="chart">
    <figcaption><span class="chart-title">${yLabel} by ${xLabel}${horizontal.isLog ? " (log)" : ""}</span></figcaption>
    <svg class="relations" viewBox="0 0 336 200" role="img" aria-label=${`${yLabel} by ${xLabel}. The table of fields has the same values.`}>
      <line class="axis" x1="50" x2="310" y1="170" y2="170" /><line class="axis" x1="50" x2="50" y1="10" y2="170" />
      ${horizontal.ticks.map((tick) => html`<text class="tick" key=${String(tick)} x=${50 + 260 * (horizontal.position(tick) ?? 0)} y="184" text-anchor="middle">${typeof tick === "number" ? formatNumber(tick, 3) : tick}</text>`)}
      ${vertical.ticks.map((tick) => html`<text class="tick" key=${String(tick)} x="46" y=${173 - 160 * (vertical.position(tick) ?? 0)} text-anchor="end">${typeof tick === "number" ? formatNumber(tick, 3) : tick}</text>`)}
      ${known.map((point) => html`<circle key=${point.id} cx=${50 + 260 * (horizontal.position(point.x) ?? 0)} cy=${170 - 160 * (vertical.position(point.y) ?? 0)} r="4" fill=${point.color}><title>${point.label}: ${formatNumber(point.x)}, ${formatNumber(point.y)}</title></circle>`)}
    </svg>
  </figure>`;
}
