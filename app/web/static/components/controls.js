// Small controls that all pages share: state badges, progress bars, tabs, code blocks, dialogs and copy buttons.
import { html, useEffect, useRef, useState } from "../lib/preact.js";
import { formatDuration, formatPercent } from "../lib/format.js";
import { changeQuery } from "../lib/router.js";
import { showToast } from "./feedback.js";
import { Icon } from "./icon.js";

/** The label and the tone of each state of jobs and dataset versions. The text makes it readable without color. */
const TONES = /** @type {Record<string, string>} */ ({
  queued: "quiet",
  running: "active",
  importing: "active",
  pausing: "active",
  stopping: "active",
  paused: "warn",
  succeeded: "good",
  ready: "good",
  failed: "bad",
  cancelled: "quiet",
});

export function StateBadge({ state }) {
  return html`<span class=${`badge badge-${TONES[state] || "quiet"}`}><span class="dot" aria-hidden="true"></span>${state}</span>`;
}

export function JobProgress({ progress, state, isShort = false }) {
  if (!progress || !progress.epochs) return null;
  const share = progress.steps ? progress.step / progress.steps : progress.epoch / progress.epochs;
  const isRunning = state === undefined || state === "running";
  return html`<span class="job-progress">
    <progress max="1" value=${Math.min(share, 1)} aria-label=${`Progress ${formatPercent(share, 0)}`}></progress>
    <span class="dim nowrap"
      >${isShort ? `${progress.epoch}/${progress.epochs}` : `Epoch ${progress.epoch} of ${progress.epochs}`}${isRunning && progress.eta_seconds !== null ? ` · ${formatDuration(progress.eta_seconds)} left` : ""}</span
    >
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
  return html`<button type="button" class="bare" onClick=${copy}><${Icon} name="copy" /> ${label}</button>`;
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

/** A list of names and values. */
export function Facts({ items }) {
  return html`<dl class="facts">
    ${items.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

/**
 * A table that scrolls sideways. A heading that ends with `#` belongs to a column of numbers.
 * @param {{head: any[], children?: any, class?: string, label?: string}} properties
 */
export function Table({ head, children, class: name = "", label = "Table" }) {
  return html`<div class="table-box" tabindex="0" role="region" aria-label=${label}><table class=${name}>
    <thead><tr>${head.map((text, index) => (typeof text !== "string" ? text : html`<th key=${index} scope="col" class=${text.endsWith("#") ? "number" : ""}>${text ? text.replace(/#$/, "") : html`<span class="sr-only">Actions</span>`}</th>`))}</tr></thead>
    <tbody>${children}</tbody>
  </table></div>`;
}

/** Bars with a label and a figure. */
export function Bars({ items, hint }) {
  return html`<ul class="bars">
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

/** A button that deletes something after a second question. */
export function DeleteButton({ label, title, text, onConfirm }) {
  const [isOpen, setOpen] = useState(false);
  return html`
    <button type="button" onClick=${() => setOpen(true)}><${Icon} name="trash" /> ${label}</button>
    ${isOpen &&
    html`<${Dialog} title=${title} onClose=${() => setOpen(false)}>
      <p>${text}</p>
      <footer><button type="button" onClick=${() => setOpen(false)}>Keep it</button><button type="button" class="danger" onClick=${onConfirm}>Delete</button></footer>
    <//>`}
  `;
}

/** Text in which backticks mark code. */
export function Prose({ text }) {
  return text.split("`").map((part, index) => (index % 2 ? html`<code key=${index}>${part}</code>` : part));
}
