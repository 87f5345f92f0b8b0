// Checks a spec with a dry run while it is written, and shows the result.
import { html, useEffect, useMemo, useRef, useState } from "../lib/preact.js";
import { Problem, request } from "../lib/api.js";
import { formatCount } from "../lib/format.js";
import { Icon } from "./icon.js";
import { toFieldId } from "./schema_form.js";

const CHECK_AFTER_MS = 400;

/** @typedef {{value: any, problem: Problem | null, isBusy: boolean}} Check */

/** Check a spec when it has not changed for a moment. @param {string} path of the endpoint @param {any} spec @returns {Check} */
export function useCheck(path, spec) {
  const [state, setState] = useState(/** @type {Check} */ ({ value: null, problem: null, isBusy: true }));
  const key = useMemo(() => JSON.stringify(spec), [spec]);
  const latest = useRef(key);
  latest.current = key;
  useEffect(() => {
    setState((previous) => ({ ...previous, isBusy: true }));
    const timer = setTimeout(async () => {
      try {
        const value = await request(`${path}?dry_run=true`, { method: "POST", json: spec });
        if (latest.current === key) setState({ value, problem: null, isBusy: false });
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        if (latest.current === key) setState((previous) => ({ value: previous.value, problem: error, isBusy: false }));
      }
    }, CHECK_AFTER_MS);
    return () => clearTimeout(timer);
  }, [key]);
  return state;
}

/**
 * The result of the check in one line, which on a small screen stays in view. A press moves to the first error.
 * @param {{check: Check, children?: any}} properties children: the line for a valid spec
 */
export function CheckLine({ check, children }) {
  const { problem } = check;
  if (!problem) return html`<span class="only-narrow dim clip">${check.isBusy ? "" : children}</span>`;
  const show = () => (document.getElementById(toFieldId(problem.errors[0]?.pointer || "")) || document.querySelector(".check-panel"))?.scrollIntoView({ block: "center" });
  return html`<button type="button" class="only-narrow bare bad" onClick=${show}>${formatCount(Math.max(problem.errors.length, 1), "error")} to correct</button>`;
}

/** The result of the check. @param {{check: Check, children?: any}} properties children: what a valid spec leads to */
export function CheckPanel({ check, children }) {
  const { value, problem } = check;
  return html`<section class="card check-panel" aria-live="polite">
    <h2>${check.isBusy ? "Checking…" : problem ? (problem.errors.length ? `${formatCount(problem.errors.length, "error")} to correct` : "The spec cannot be checked") : html`<${Icon} name="check" /> Ready to submit`}</h2>
    ${problem && html`<ul class="plain">${problem.errors.length ? problem.errors.map((one) => html`<li key=${one.pointer}><code>${one.pointer || "/"}</code> ${one.detail}</li>`) : html`<li>${problem.message}</li>`}</ul>`}
    ${!problem && value && children}
  </section>`;
}
