// Form fields for a JSON Schema of the API's document. A field that is not set shows the default; a set field can be reset.
import { html, useState } from "../lib/preact.js";
import { Prose } from "./controls.js";
import { Icon } from "./icon.js";

/**
 * What all fields of a form share.
 * @typedef {{spec: any, initial: any, resolved: any, errors: Map<string, string>, schemas: Record<string, any>,
 *   findOptions: (pointer: string, name: string) => Schema | null,
 *   change: (pointer: string, value: any) => void}} Form
 */

/** @typedef {{form: Form, pointer: string, schema: Schema, label: string, isRequired?: boolean}} FieldProperties */

/** @param {FieldProperties} properties */
export function SchemaField({ form, pointer, schema: raw, label, isRequired = false }) {
  const schema = resolveSchema(raw, form.schemas);
  const union = readUnion(schema);
  const hasNamedOptions = schema.additionalProperties === true && schema.properties?.name;
  if (schema.type === "array" && !isPlainArray(schema, form.schemas)) return html`<${ListField} form=${form} pointer=${pointer} schema=${schema} label=${label} />`;
  if (union || hasNamedOptions) return html`<${UnionField} form=${form} pointer=${pointer} schema=${schema} label=${label} isRequired=${isRequired} />`;
  if (schema.type === "object" && schema.properties) return html`<fieldset><legend>${label}</legend>${listFields({ form, pointer, schema })}</fieldset>`;
  return html`<${ValueField} form=${form} pointer=${pointer} schema=${schema} label=${label} isRequired=${isRequired} />`;
}

/** The fields of an object. @param {{form: Form, pointer: string, schema: any, leaveOut?: string[]}} properties */
function listFields({ form, pointer, schema, leaveOut = [] }) {
  return Object.entries(schema.properties || {})
    .filter(([name]) => !leaveOut.includes(name))
    .map(([name, part]) => html`<${SchemaField} key=${name} form=${form} pointer=${`${pointer}/${name}`} schema=${part} label=${toLabel(name)} isRequired=${(schema.required || []).includes(name)} />`);
}

/** Whether the user changed a field. @param {Form} form @param {string} pointer */
export function isChanged(form, pointer) {
  const value = getValue(form.spec, pointer);
  return value !== undefined && JSON.stringify(value) !== JSON.stringify(getValue(form.initial, pointer));
}

/** The button that makes a set field a default again. */
function ResetButton({ label, onClick }) {
  return html`<button type="button" class="bare reset" title="Use the default" aria-label=${`Reset ${label} to its default`} onClick=${onClick}><${Icon} name="close" /></button>`;
}

/** One input with its default, its description and its error. @param {FieldProperties} properties */
export function ValueField({ form, pointer, schema, label, isRequired = false }) {
  const value = getValue(form.spec, pointer);
  const [draft, setDraft] = useState(/** @type {string | null} */ (null)); // survives a redraw while it is typed
  const isSet = value !== undefined;
  const fallback = getValue(form.resolved, pointer) ?? schema.default;
  const error = form.errors.get(pointer);
  const id = toFieldId(pointer);
  const describedBy = [error && `${id}-error`, schema.description && `${id}-help`].filter(Boolean).join(" ");
  const common = { id, "aria-invalid": error ? "true" : undefined, "aria-describedby": describedBy || undefined };
  const choices = schema.type === "boolean" ? [true, false] : readChoices(schema);
  const unset = isRequired && fallback === undefined ? "choose" : `default${fallback === undefined || fallback === null ? "" : `: ${formatInput(fallback)}`}`;
  return html`<div class=${isChanged(form, pointer) ? "field is-set" : "field"}>
    <label for=${id}>${label}${isRequired && html`<span class="dim"> required</span>`}</label>
    <div class="row">
      ${choices
        ? html`<select ...${common} value=${isSet ? JSON.stringify(value) : ""} onChange=${(event) => form.change(pointer, event.target.value ? JSON.parse(event.target.value) : undefined)}>
            <option value="">${unset}</option>
            ${choices.map((choice) => html`<option key=${String(choice)} value=${JSON.stringify(choice)}>${String(choice)}</option>`)}
          </select>`
        : html`<input ...${common} value=${draft ?? formatInput(value)} placeholder=${unset} autocomplete="off" spellcheck=${false} onInput=${(event) => setDraft(event.target.value)} onChange=${({ target }) => (setDraft(null), form.change(pointer, target.value === "" ? undefined : parseInput(target.value, schema)))} />`}
      ${isSet && !isRequired && html`<${ResetButton} label=${label} onClick=${() => form.change(pointer, undefined)} />`}
    </div>
    ${error && html`<p class="error" id=${`${id}-error`}>${error}</p>`}
    ${schema.description && html`<p class="help" id=${`${id}-help`}><${Prose} text=${schema.description} /></p>`}
  </div>`;
}

/** A choice by name, with the options of the chosen member. @param {FieldProperties} properties */
function UnionField({ form, pointer, schema, label, isRequired }) {
  const union = readUnion(schema);
  const field = union?.field || "name";
  const value = getValue(form.spec, pointer);
  const name = typeof value === "string" ? value : value?.[field];
  const member = union?.choices.find(([choice]) => choice === name);
  const options = form.findOptions(pointer, name) || (member && resolveSchema({ $ref: member[1] }, form.schemas));
  const names = form.findOptions(pointer, "*")?.names || union?.choices.map(([choice]) => choice) || [];
  const fallback = getValue(form.resolved, pointer)?.[field];
  const error = form.errors.get(pointer) || form.errors.get(`${pointer}/${field}`);
  const id = toFieldId(pointer);
  return html`<div class="union">
    <div class=${isChanged(form, pointer) ? "field is-set" : "field"}>
      <label for=${id}>${label}${isRequired && html`<span class="dim"> required</span>`}</label>
      <div class="row">
        <select id=${id} aria-invalid=${error ? "true" : undefined} aria-describedby=${error ? `${id}-error` : undefined} value=${name || ""} onChange=${(event) => form.change(pointer, event.target.value ? { [field]: event.target.value } : undefined)}>
          <option value="">${isRequired ? "choose" : `default${fallback ? `: ${fallback}` : ""}`}</option>
          ${name && !names.includes(name) && html`<option value=${name}>${name}</option>`}
          ${names.map((choice) => html`<option key=${choice} value=${choice}>${choice}</option>`)}
        </select>
        ${name && !isRequired && html`<${ResetButton} label=${label} onClick=${() => form.change(pointer, undefined)} />`}
      </div>
      ${error && html`<p class="error" id=${`${id}-error`}>${error}</p>`}
      ${options?.summary && html`<p class="help"><${Prose} text=${options.summary} /></p>`}
    </div>
    ${options && hasFields(options, field) && html`<details class="options"><summary>Options of ${name}</summary>${listFields({ form, pointer, schema: options, leaveOut: [field] })}</details>`}
  </div>`;
}

/** @param {any} schema @param {string} field */
function hasFields(schema, field) {
  return Object.keys(schema.properties || {}).some((name) => name !== field);
}

/** A list of members, such as callbacks. @param {FieldProperties} properties */
function ListField({ form, pointer, schema, label }) {
  const items = getValue(form.spec, pointer) || [];
  const list = /** @type {any[]} */ (Array.isArray(items) ? items : [items]);
  const item = schema.items ? resolveSchema(schema.items, form.schemas) : {};
  const union = readUnion(item);
  const error = form.errors.get(pointer);
  const id = toFieldId(pointer);
  return html`<fieldset>
    <legend>${label}</legend>
    ${schema.description && html`<p class="help"><${Prose} text=${schema.description} /></p>`}
    ${error && html`<p class="error" role="alert">${error}</p>`}
    ${list.map(
      (_, index) => html`<div class="list-item" key=${index}>
        <${SchemaField} form=${form} pointer=${`${pointer}/${index}`} schema=${item} label=${`${label} ${index + 1}`} isRequired=${true} />
        <button type="button" class="bare" aria-label=${`Remove ${label} ${index + 1}`} onClick=${() => form.change(pointer, list.length > 1 ? list.filter((_one, other) => other !== index) : undefined)}><${Icon} name="trash" /></button>
      </div>`,
    )}
    ${union
      ? html`<div class="row"><select id=${id} aria-label=${`Add to ${label}`} value="" onChange=${(event) => {
          form.change(pointer, [...list, { [union.field]: event.target.value }]);
          event.target.value = "";
        }}><option value="">Add…</option>${union.choices.map(([choice]) => html`<option key=${choice} value=${choice}>${choice}</option>`)}</select></div>`
      : html`<button type="button" onClick=${() => form.change(pointer, [...list, item.type === "object" ? {} : ""])}><${Icon} name="plus" /> Add</button>`}
  </fieldset>`;
}

/** @typedef {{[key: string]: any}} Schema */

/**
 * Resolve a reference into `#/components/schemas`, and drop `null` from a union: an unset field has the same meaning.
 * @param {Schema} schema
 * @param {Record<string, Schema>} schemas
 * @returns {Schema}
 */
export function resolveSchema(schema, schemas) {
  let current = schema;
  for (let depth = 0; depth < 8; depth += 1) {
    if (current.$ref) {
      const name = current.$ref.split("/").pop();
      current = { ...schemas[name], ...omit(current, "$ref"), title: schemas[name]?.title };
    } else if (current.anyOf?.some((part) => part.type === "null")) {
      const parts = current.anyOf.filter((part) => part.type !== "null");
      current = parts.length === 1 ? { ...parts[0], ...omit(current, "anyOf") } : { ...omit(current, "anyOf"), anyOf: parts, isOptional: true };
      if (parts.length !== 1) return current;
    } else return current;
  }
  return current;
}

/** @param {Schema} schema @param {string} key */
function omit(schema, key) {
  const { [key]: _, ...rest } = schema;
  return rest;
}

/**
 * The choices of a union whose members differ in a field, such as `name`: [value, reference].
 * @param {Schema} schema
 * @returns {{field: string, choices: [string, string][]} | null}
 */
function readUnion(schema) {
  const { discriminator } = schema.discriminator ? schema : schema.anyOf?.find((part) => part.discriminator) || {};
  return discriminator ? { field: discriminator.propertyName, choices: Object.entries(discriminator.mapping) } : null;
}

/** The members of an enumeration, also one that is a part of a union. @param {Schema} schema @returns {any[] | null} */
function readChoices(schema) {
  if (schema.enum) return schema.enum;
  if (schema.const !== undefined) return [schema.const];
  if (schema.anyOf?.every((part) => part.enum || part.const !== undefined)) return schema.anyOf.flatMap((part) => readChoices(part) || []);
  return null;
}

/** Whether an array holds numbers or strings, which one line can show. @param {Schema} schema @param {Record<string, Schema>} schemas */
function isPlainArray(schema, schemas) {
  const items = schema.items ? resolveSchema(schema.items, schemas) : null;
  return schema.type === "array" && items !== null && ["number", "integer", "string"].includes(items.type);
}

/**
 * Read a value that was typed. Returns the text itself where it cannot be read, so that the API explains what is wrong.
 * @param {string} text
 * @param {Schema} schema
 * @returns {any}
 */
function parseInput(text, schema) {
  const trimmed = text.trim();
  const types = schema.anyOf ? schema.anyOf.map((part) => part.type) : [schema.type];
  if (types.includes("array") && (trimmed.startsWith("[") || trimmed.includes(","))) {
    try {
      return JSON.parse(trimmed.startsWith("[") ? trimmed : `[${trimmed}]`);
    } catch {
      return trimmed.split(",").map((part) => parseInput(part, schema.items || {}));
    }
  }
  if ((types.includes("number") || types.includes("integer")) && trimmed !== "" && !Number.isNaN(Number(trimmed))) return Number(trimmed);
  if (types.includes("boolean") && /^(true|false)$/.test(trimmed)) return trimmed === "true";
  if (types.includes("object") && trimmed.startsWith("{")) {
    try {
      return JSON.parse(trimmed);
    } catch {
      return trimmed;
    }
  }
  return types.includes("array") && !types.includes("string") ? [parseInput(trimmed, schema.items || {})] : text;
}

/** @param {any} value */
export function formatInput(value) {
  if (value === undefined || value === null) return "";
  if (Array.isArray(value) && value.every((item) => typeof item === "number")) return value.join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/**
 * Get the value at a JSON pointer (RFC 6901).
 * @param {any} document
 * @param {string} pointer
 */
export function getValue(document, pointer) {
  return pointer.split("/").slice(1).reduce((value, key) => (value === null || value === undefined ? undefined : value[unescapeKey(key)]), document);
}

/**
 * Return a copy with another value at a JSON pointer. `undefined` removes the field, and objects that become empty.
 * @param {any} document
 * @param {string} pointer
 * @param {any} value
 * @returns {any}
 */
export function setValue(document, pointer, value) {
  const [, first, ...rest] = pointer.split("/");
  const key = unescapeKey(first);
  const copy = Array.isArray(document) ? [...document] : { ...document };
  const next = rest.length ? setValue(copy[key] ?? (/^\d+$/.test(rest[0]) ? [] : {}), `/${rest.join("/")}`, value) : value;
  const isEmpty = next === undefined || (rest.length > 0 && value === undefined && !Array.isArray(next) && Object.keys(next).length === 0);
  if (isEmpty && Array.isArray(copy)) copy.splice(Number(key), 1);
  else if (isEmpty) delete copy[key];
  else copy[key] = next;
  return copy;
}

/** The id of the input of a field. @param {string} pointer */
export function toFieldId(pointer) {
  return `field${pointer.replace(/[^A-Za-z0-9]+/g, "-")}`;
}

/** @param {string} key */
function unescapeKey(key) {
  return key.replace(/~1/g, "/").replace(/~0/g, "~");
}

/** @param {string} name such as `batch_size`, which is `Batch size` */
export function toLabel(name) {
  const text = name.replace(/_/g, " ");
  return text[0].toUpperCase() + text.slice(1);
}
