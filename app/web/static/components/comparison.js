// A table with a column for each of several things, and the difference of two.
import { html } from "../lib/preact.js";
import { formatNumber, formatValue } from "../lib/format.js";
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
