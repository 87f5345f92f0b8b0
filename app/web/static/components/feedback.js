// Problems, empty states, skeletons and toasts.
import { html, useEffect, useState } from "../lib/preact.js";
import { Icon } from "./icon.js";

/**
 * A problem of the API, with a way out.
 * @param {{problem: import("../lib/api.js").Problem, onRetry?: () => void}} properties
 */
export function ProblemNotice({ problem, onRetry }) {
  return html`<div class="notice notice-bad" role="alert">
    <${Icon} name="warning" />
    <div class="grow">
      <strong>${problem.title}</strong>
      <p>${problem.message}</p>
      ${problem.errors.length > 0 &&
      html`<ul class="plain">
        ${problem.errors.slice(0, 20).map((error) => html`<li key=${error.pointer}><code>${error.pointer || "/"}</code> ${error.detail}</li>`)}
      </ul>`}
    </div>
    ${onRetry && html`<button type="button" onClick=${onRetry}>Try again</button>`}
  </div>`;
}

/**
 * What a view shows when it has nothing to show yet.
 * @param {{icon: any, title: string, children?: import("../lib/preact.js").Children}} properties
 */
export function EmptyState({ icon, title, children }) {
  return html`<section class="empty">
    <${Icon} name=${icon} />
    <h2>${title}</h2>
    ${children}
  </section>`;
}

/** Placeholder lines while a response loads. They appear after a moment, so that fast responses do not flicker. */
function Skeleton({ lines = 6 }) {
  return html`<div class="skeleton" role="status" aria-label="Loading">
    ${Array.from({ length: lines }, (_, number) => html`<div key=${number} class=${`skeleton-line w${(number * 7) % 5}`}></div>`)}
  </div>`;
}

/**
 * Show a resource: its problem, a skeleton, or its value.
 * @param {{resource: import("../lib/resource.js").Resource<any>, lines?: number, children: (value: any) => import("../lib/preact.js").Child}} properties
 */
export function Loaded({ resource, lines, children }) {
  if (resource.value === undefined) {
    if (resource.problem) return html`<${ProblemNotice} problem=${resource.problem} onRetry=${resource.refresh} />`;
    return html`<${Skeleton} lines=${lines} />`;
  }
  return html`
    ${resource.problem && html`<${ProblemNotice} problem=${resource.problem} onRetry=${resource.refresh} />`}
    ${children(resource.value)}
  `;
}

/**
 * Show a component whose module is loaded first. The other properties are passed to it.
 * @param {{load: () => Promise<any>, [property: string]: any}} properties load: the same function each time
 */
export function Lazy({ load, ...properties }) {
  const [component, setComponent] = useState(/** @type {any} */ (null));
  useEffect(() => {
    let isCurrent = true;
    load().then((loaded) => isCurrent && setComponent(() => loaded));
    return () => {
      isCurrent = false;
    };
  }, [load]);
  return component ? html`<${component} ...${properties} />` : html`<${Skeleton} />`;
}

/** @typedef {{id: number, text: string, isBad: boolean, undo?: () => void}} Toast */
const channel = new EventTarget();
let numToasts = 0;

/**
 * Show a message for a few seconds, with a button that takes the action back.
 * @param {string} text
 * @param {{isBad?: boolean, undo?: () => void}} [options]
 */
export function showToast(text, { isBad = false, undo } = {}) {
  numToasts += 1;
  channel.dispatchEvent(new CustomEvent("toast", { detail: { id: numToasts, text, isBad, undo } }));
}

/**
 * Run an action of a button. Show its problem as a toast.
 * @param {() => Promise<unknown>} action
 */
export async function attempt(action) {
  try {
    await action();
  } catch (error) {
    showToast(error instanceof Error ? error.message : String(error), { isBad: true });
  }
}

export function Toasts() {
  const [toasts, setToasts] = useState(/** @type {Toast[]} */ ([]));
  const remove = (id) => setToasts((all) => all.filter((toast) => toast.id !== id));
  useEffect(() => {
    const add = (event) => {
      setToasts((all) => [...all.slice(-3), event.detail]);
      setTimeout(remove, event.detail.isBad || event.detail.undo ? 10000 : 4000, event.detail.id);
    };
    channel.addEventListener("toast", add);
    return () => channel.removeEventListener("toast", add);
  }, []);
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.map(
      (toast) => html`<div key=${toast.id} class=${toast.isBad ? "toast toast-bad" : "toast"}>
        <span>${toast.text}</span>
        ${toast.undo &&
        html`<button
          type="button"
          onClick=${() => {
            remove(toast.id);
            toast.undo?.();
          }}
        >
          Undo
        </button>`}
        <button type="button" class="bare" aria-label="Dismiss" onClick=${() => remove(toast.id)}><${Icon} name="close" /></button>
      </div>`,
    )}
  </div>`;
}
