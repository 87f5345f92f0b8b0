// Form fields for the search space of a sweep: a row for each parameter.
import { html } from "../lib/preact.js";
import { buildRow, escapePart, listPointers, suggestRow } from "../lib/space.js";
import { Icon } from "./icon.js";
import { toFieldId } from "./schema_form.js";

const TYPES = [["float", "number"], ["int", "integer"], ["choice", "choice"]];

/** @typedef {import("../lib/space.js").SpaceRow} SpaceRow */

/**
 * @param {{rows: SpaceRow[], errors: Map<string, string>, document: any, onChange: (rows: SpaceRow[]) => void}} properties
 *   document: the spec of a job, whose fields are suggested
 */
export function SpaceFields({ rows, errors, document, onChange }) {
  const suggestions = listPointers(document).filter(([pointer]) => !["/kind", "/name", "/model", "/spec_version"].includes(pointer));
  const replace = (index, changes) => onChange(rows.map((row, other) => (other === index ? { ...row, ...changes } : row)));
  const choosePointer = (index, pointer) => {
    const [, value] = suggestions.find(([one]) => one === pointer) || [];
    const isNew = !rows[index].low && !rows[index].high && !rows[index].values;
    replace(index, isNew && value !== undefined ? { ...suggestRow(pointer, value), key: rows[index].key } : { pointer });
  };
  const error = errors.get("/space");
  return html`
    <datalist id="space-pointers">${suggestions.map(([pointer]) => html`<option key=${pointer} value=${pointer}></option>`)}</datalist>
    <div class="space-rows">
      ${rows.map((row, index) => html`<${SpaceField} key=${row.key} row=${row} errors=${errors} isRepeated=${rows.some((other, position) => position < index && row.pointer && other.pointer === row.pointer)} onChange=${(changes) => replace(index, changes)} onPointer=${(pointer) => choosePointer(index, pointer)} onRemove=${rows.length > 1 ? () => onChange(rows.filter((other) => other !== row)) : null} />`)}
    </div>
    ${error && html`<p class="error">${error}</p>`}
    <button type="button" onClick=${() => onChange([...rows, buildRow()])}><${Icon} name="plus" /> Add a parameter</button>
  `;
}

/**
 * @param {{row: SpaceRow, errors: Map<string, string>, isRepeated: boolean, onChange: (changes: Partial<SpaceRow>) => void,
 *   onPointer: (pointer: string) => void, onRemove: (() => void) | null}} properties
 */
function SpaceField({ row, errors, isRepeated, onChange, onPointer, onRemove }) {
  const path = `/space/${escapePart(row.pointer)}`;
  const own = [...errors].filter(([pointer]) => row.pointer && (pointer === path || pointer.startsWith(`${path}/`))).map(([pointer, detail]) => /** @type {[string, string]} */ ([pointer.slice(path.length + 1), detail]));
  const messages = isRepeated ? [["", "Another row has this field."], ...own] : own;
  const id = toFieldId(`${path}/row${row.key}`);
  const hasError = (name) => own.some(([part]) => part === name || part.startsWith(`${name}/`) || part.includes(`/${name}`));
  const input = (name, label, className = "") => html`<label class=${`field ${className}`}>${label} <input value=${row[name]} autocomplete="off" spellcheck=${false} aria-invalid=${hasError(name) ? "true" : undefined} aria-describedby=${messages.length ? id : undefined} onInput=${(event) => onChange({ [name]: event.target.value })} /></label>`;
  return html`<fieldset class="space-row">
    <legend class="sr-only">${row.pointer || "New parameter"}</legend>
    <label class="field space-pointer">Field <input id=${toFieldId(path)} list="space-pointers" required placeholder="/optimizer/lr" autocomplete="off" spellcheck=${false} value=${row.pointer} aria-invalid=${isRepeated || own.some(([part]) => !part) ? "true" : undefined} aria-describedby=${messages.length ? id : undefined} onChange=${(event) => onPointer(event.target.value.trim())} /></label>
    <label class="field">Type <select value=${row.type} onChange=${(event) => onChange({ type: event.target.value })}>${TYPES.map(([value, name]) => html`<option key=${value} value=${value}>${name}</option>`)}</select></label>
    ${row.type === "choice"
      ? input("values", "Values, separated by commas", "space-values")
      : html`${input("low", "Low")} ${input("high", "High")} ${input("step", "Step")}
          <label class="space-log"><input type="checkbox" checked=${row.log} onChange=${() => onChange({ log: !row.log })} /> log</label>`}
    ${onRemove && html`<button type="button" class="bare space-remove" aria-label=${`Remove ${row.pointer || "the parameter"}`} onClick=${onRemove}><${Icon} name="trash" /></button>`}
    <details class="space-when" open=${Boolean(row.when) || undefined}><summary>Condition</summary>${input("when", "Only if", "")}<span class="help">For example <code>/optimizer/name = sgd</code>. Several values: commas; several conditions: semicolons.</span></details>
    ${messages.length > 0 && html`<ul class="plain error" id=${id}>${messages.map(([part, detail]) => html`<li key=${part}>${part && html`<code>${part}</code> `}${detail}</li>`)}</ul>`}
  </fieldset>`;
}
