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

/** @param {{state: string}} properties */
export function StateBadge({ state }) {
  return html`<span class=${`badge badge-${TONES[state] || "quiet"}`}><span class="dot" aria-hidden="true"></span>${state}</span>`;
}

/** @param {{progress: any, state?: string}} properties the `progress` of a job */
export function JobProgress({ progress, state }) {
  if (!progress || !progress.epochs) return null;
  const share = progress.steps ? progress.step / progress.steps : progress.epoch / progress.epochs;
  const isRunning = state === undefined || state === "running";
  return html`<span class="job-progress">
    <progress max="1" value=${Math.min(share, 1)} aria-label=${`Progress ${formatPercent(share, 0)}`}></progress>
    <span class="dim nowrap"
      >${progress.epoch}/${progress.epochs}${isRunning && progress.eta_seconds !== null ? ` · ${formatDuration(progress.eta_seconds)} left` : ""}</span
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
  return html`<div class="tabs" role="tablist" aria-label=${label} onKeyDown=${move}>
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

/** @param {{text: string, label?: string}} properties */
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

/** @param {{text: string, label: string}} properties */
export function CodeBlock({ text, label }) {
  return html`<figure class="code">
    <figcaption><span>${label}</span><${CopyButton} text=${text} /></figcaption>
    <pre tabindex="0" role="region" aria-label=${label}><code>${text}</code></pre>
  </figure>`;
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

/**
 * A button that opens a list of further controls.
 * @param {{label: import("../lib/preact.js").Child, children: import("../lib/preact.js").Children}} properties
 */
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

/** A list of names and values. @param {{items: [string, import("../lib/preact.js").Child][]}} properties */
export function Facts({ items }) {
  return html`<dl class="facts">
    ${items.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

/** Text in which backticks mark code. @param {{text: string}} properties */
export function Prose({ text }) {
  return text.split("`").map((part, index) => (index % 2 ? html`<code key=${index}>${part}</code>` : part));
}
