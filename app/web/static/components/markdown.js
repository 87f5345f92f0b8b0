// Renders Markdown as elements: text never becomes HTML.
import { html } from "../lib/preact.js";

/** Escaped characters, bold text, code and links to web pages in a line. @param {string} text */
function renderLine(text) {
  return text.split(/(\\[\\`*_[\]<>|#]|`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\(https?:[^)\s]+\))/).map((part, index) => {
    if (index % 2 === 0) return part; // the others are what the expression matches
    const link = /^\[(.+)\]\((https?:.+)\)$/.exec(part);
    if (link) return html`<a key=${index} href=${link[2]} rel="noopener noreferrer">${link[1]}</a>`;
    if (part.startsWith("\\")) return part[1];
    if (part.startsWith("`")) return html`<code key=${index}>${part.slice(1, -1)}</code>`;
    return html`<b key=${index}>${part.slice(2, -2)}</b>`;
  });
}

/** @param {string} row */
const readCells = (row) => row.replace(/^\||(?<!\\)\|\s*$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim());

/** @param {string[]} lines */
function renderBlock(lines, key) {
  const heading = /^(#{1,6}) (.*)/.exec(lines[0]);
  if (heading) return html`<${heading[1].length < 2 ? "h2" : "h3"} key=${key}>${renderLine(heading[2])}<//>`;
  if (lines.every((line) => /^[-*] /.test(line))) return html`<ul key=${key}>${lines.map((line, index) => html`<li key=${index}>${renderLine(line.slice(2))}</li>`)}</ul>`;
  if (lines.length > 1 && /^\|[\s:|-]+$/.test(lines[1])) {
    const isNumber = readCells(lines[1]).map((cell) => (cell.endsWith(":") ? "number" : ""));
    const row = (line, tag) => readCells(line).map((cell, index) => html`<${tag} key=${index} class=${isNumber[index]}>${renderLine(cell)}<//>`);
    return html`<div class="table-box" key=${key} tabindex="0" role="region" aria-label="Table"><table class="dense"><thead><tr>${row(lines[0], "th")}</tr></thead><tbody>${lines.slice(2).map((line, index) => html`<tr key=${index}>${row(line, "td")}</tr>`)}</tbody></table></div>`;
  }
  return html`<p key=${key}>${renderLine(lines.join(" "))}</p>`;
}

export function Markdown({ text }) {
  const blocks = text.split(/\n\s*\n/).map((block) => block.split("\n").filter((line) => line.trim())).filter((lines) => lines.length);
  return html`<div class="markdown">${blocks.map(renderBlock)}</div>`;
}
