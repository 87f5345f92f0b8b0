// Small controls that all pages share: state badges, progress bars, tabs, code blocks, dialogs and copy buttons.
import { html, useEffect, useRef, useState } from "../lib/preact.js";
import { COLORS } from "../lib/colors.js";
import { formatDuration, formatNumber, formatPercent } from "../lib/format.js";
import { changeQuery } from "../lib/router.js";
import { showToast } from "./feedback.js";
import { Icon } from "./icon.js";

/** The tone of each state of jobs, dataset versions, sweeps and trials. The text makes it readable without color. */
const TONES = /** @type {Record<string, string>} */ ({
  queued: "quiet",
  running: "active",
  importing: "active",
  pausing: "active",
  stopping: "active",
  finishing: "active",
  interrupted: "warn",
  refused: "bad",
  paused: "warn",
  succeeded: "good",
  ready: "good",
  healthy: "good",
  degraded: "bad",
  failed: "bad",
  cancelled: "quiet",
});

export function StateBadge({ state }) {
  return html`<span class=${`badge badge-${TONES[state] || "quiet"}`}><span class="dot" aria-hidden="true"></span>${state}</span>`;
}

/** How far a training is; when it has ended, how long it took. */
export function JobProgress({ job, isShort = false }) {
  const { progress, state } = job;
  const epochs = progress.epochs || job.spec?.epochs;
  if (!epochs) return null;
  const share = progress.steps ? progress.step / progress.steps : progress.epoch / epochs;
  const left = state === "running" && progress.eta_seconds !== null ? ` · ${formatDuration(progress.eta_seconds)} left` : "";
  const count = isShort ? `${progress.epoch}/${epochs}` : `${state === "succeeded" ? "Trained" : "Epoch"} ${progress.epoch} of ${epochs}`;
  const took = job.duration_s === null ? "" : state === "succeeded" ? ` epochs in ${formatDuration(job.duration_s)}` : ` · ended after ${formatDuration(job.duration_s)}`;
  return html`<span class="job-progress">
    <progress max="1" value=${Math.min(share, 1)} aria-label=${`Progress ${formatPercent(share, 0)}`}></progress>
    <span class="dim nowrap">${count}${left}${took}</span>
  </span>`;
}

/**
 * Tabs whose choice is a parameter of the address.
 * @param {{name: string, chosen: string, tabs: [string, string][], label: string}} properties tabs: [value, text]
 */
export function Tabs({ name, chosen, tabs, label }) {
  const move = (event) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!step) return;
    event.preventDefault();
    const index = tabs.findIndex(([value]) => value === chosen);
    const [value] = tabs[(index + step + tabs.length) % tabs.length];
    changeQuery({ [name]: value });
    requestAnimationFrame(() => document.getElementById(`tab-${value}`)?.focus());
  };
  // On a small screen the tabs are one line that scrolls.
  const line = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    const tab = document.getElementById(`tab-${chosen}`);
    if (tab && line.current) line.current.scrollLeft = tab.offsetLeft - line.current.offsetLeft - 40;
  }, [chosen]);
  return html`<div class="tabs" role="tablist" ref=${line} aria-label=${label} onKeyDown=${move}>
    ${tabs.map(
      ([value, text]) => html`<button
        key=${value}
        id=${`tab-${value}`}
        type="button"
        role="tab"
        aria-selected=${value === chosen ? "true" : "false"}
        aria-controls="tab-panel"
        tabindex=${value === chosen ? 0 : -1}
        onClick=${() => changeQuery({ [name]: value })}
      >
        ${text}
      </button>`,
    )}
  </div>`;
}

export function CopyButton({ text, label = "Copy" }) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      showToast("Copied");
    } catch {
      showToast("The browser does not allow to copy; select the text instead.", { isBad: true });
    }
  };
  return html`<button type="button" class="bare" aria-label=${label || "Copy"} onClick=${copy}><${Icon} name="copy" /> ${label}</button>`;
}

/** Code in tabs, such as the same call in several languages. */
export function CodeBlock({ blocks, children = null }) {
  const [chosen, setChosen] = useState(blocks[0][0]);
  const [label, text] = blocks.find(([one]) => one === chosen) || blocks[0];
  return html`<figure class="code">
    <figcaption>${blocks.length > 1 ? html`<${Segments} label="Language" chosen=${label} options=${blocks.map(([one]) => [one, one])} onChoose=${setChosen} />` : label}<span class="grow"></span>${children}<${CopyButton} text=${text} /></figcaption>
    <pre tabindex="0" role="region" aria-label=${label}><code>${text}</code></pre>
  </figure>`;
}

/** One of a few choices. */
export function Segments({ label, chosen, options, onChoose }) {
  return html`<div class="segments" role="group" aria-label=${label}>
    ${options.map(([value, text]) => html`<button key=${value} type="button" aria-pressed=${String(value === chosen)} onClick=${() => onChoose(value)}>${text}</button>`)}
  </div>`;
}

/**
 * A modal dialog. The browser traps the focus and closes it with Escape.
 * @param {{title: string, onClose: () => void, children: import("../lib/preact.js").Children}} properties
 */
export function Dialog({ title, onClose, children }) {
  const element = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    element.current?.showModal();
    return () => element.current?.close();
  }, []);
  return html`<dialog ref=${element} aria-labelledby="dialog-title" onClose=${onClose}>
    <header>
      <h2 id="dialog-title">${title}</h2>
      <button type="button" class="bare" aria-label="Close" onClick=${onClose}><${Icon} name="close" /></button>
    </header>
    ${children}
  </dialog>`;
}

/** A button that opens a list of further controls. */
export function Menu({ label, children }) {
  const [isOpen, setOpen] = useState(false);
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    if (!isOpen) return undefined;
    const close = (event) => {
      if (event instanceof KeyboardEvent ? event.key === "Escape" : !element.current?.contains(/** @type {Node} */ (event.target))) setOpen(false);
    };
    addEventListener("pointerdown", close);
    addEventListener("keydown", close);
    return () => {
      removeEventListener("pointerdown", close);
      removeEventListener("keydown", close);
    };
  }, [isOpen]);
  return html`<span class="menu" ref=${element}>
    <button type="button" aria-expanded=${isOpen ? "true" : "false"} onClick=${() => setOpen(!isOpen)}>${label}<${Icon} name="down" /></button>
    ${isOpen && html`<div class="menu-panel">${children}</div>`}
  </span>`;
}

/** A field that filters a list. The key `/` moves to it. */
export function SearchField({ label, text, onInput }) {
  return html`<label class="search"><${Icon} name="search" /><input type="search" aria-label=${label} placeholder="Search" value=${text} onInput=${(event) => onInput(event.target.value)} /><kbd aria-hidden="true">/</kbd></label>`;
}

/** A list of names and values. Values that are null or undefined are left out. */
export function Facts({ items }) {
  return html`<dl class="facts">
    ${items.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

/** @param {any} cell */
function formatCell(cell) {
  if (typeof cell === "number") return formatNumber(cell);
  return !cell || cell.length === 0 ? "–" : cell;
}

/**
 * A table. A heading that ends with `#` belongs to a column of numbers, one without text to actions. On a small screen
 * each row of the class `cards` becomes a card; other tables scroll sideways, and their first column stays.
 * @param {{head: any[], rows?: [any, any[], string?][], children?: any, class?: string, label: string}} properties
 *   rows: the key, the cells and the class of each
 */
export function Table({ head, rows = [], children, class: name = "cards", label }) {
  const columns = head.map((text) => (typeof text !== "string" ? ["", ""] : [text.replace(/#$/, ""), text === "" ? "number last" : text.endsWith("#") ? "number" : ""]));
  return html`<div class="table-box" tabindex="0" role="region" aria-label=${label}><table class=${name}>
    <thead><tr>${head.map((text, index) => (typeof text !== "string" ? text : html`<th key=${index} scope="col" class=${columns[index][1]}>${columns[index][0] || html`<span class="sr-only">Actions</span>`}</th>`))}</tr></thead>
    <tbody>${rows.map(([key, cells, rowClass]) => html`<tr key=${key} class=${rowClass}>${cells.map((cell, index) => html`<${index ? "td" : "th"} key=${index} scope=${index ? undefined : "row"} class=${columns[index][1]} data-label=${columns[index][0]}>${formatCell(cell)}<//>`)}</tr>`)}${children}</tbody>
  </table></div>`;
}

/** The parts of a whole, as one bar with its legend. @param {{parts: [string, number, string][]}} properties each part: its name, its amount and the amount as text; the part `free` is not colored */
export function StackedBar({ parts }) {
  const paint = (index) => ({ background: parts[index][0] === "free" ? "var(--line)" : COLORS[index % COLORS.length] });
  return html`<div class="stacked" aria-hidden="true">${parts.map(([name, amount], index) => html`<span key=${name} style=${{ ...paint(index), flexGrow: String(amount) }}></span>`)}</div>
    <ul class="legend">${parts.map(([name, , text], index) => html`<li key=${name}><span class="dot" style=${paint(index)}></span>${name} <b>${text}</b></li>`)}</ul>`;
}

/** Bars with a label and a figure, and with headings of these two. */
export function Bars({ items, hint, head = null }) {
  return html`<ul class="bars">
    ${head && html`<li class="dim"><span>${head[0]}</span><span></span><span class="number">${head[1]}</span></li>`}
    ${items.map(({ key, label, share, text, action }) => {
      const content = html`<span class="clip">${label}</span><meter min="0" max="1" value=${share} aria-label=${label}></meter><span class="number">${text}</span>`;
      return html`<li key=${key}>${action ? html`<button type="button" class="bare" title=${hint} onClick=${action}>${content}</button>` : content}</li>`;
    })}
  </ul>`;
}

/** The heading of a page, which is also its title. */
export function PageHead({ title, crumbs, badge, children }) {
  useEffect(() => {
    document.title = `${title} · Candela`;
  }, [title]);
  return html`<header class="page-head">
    <div class="grow">${crumbs && html`<p class="crumbs">${crumbs}</p>`}<h1>${title} ${badge}</h1></div>
    <div class="actions">${children}</div>
  </header>`;
}

/** Text in which backticks mark code. */
export function Prose({ text }) {
  return text.split("`").map((part, index) => (index % 2 ? html`<code key=${index}>${part}</code>` : part));
}
