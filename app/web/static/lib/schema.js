// Reads JSON Schemas of the API's document: references, optional values and unions.

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
export function readUnion(schema) {
  const { discriminator } = schema.discriminator ? schema : schema.anyOf?.find((part) => part.discriminator) || {};
  return discriminator ? { field: discriminator.propertyName, choices: Object.entries(discriminator.mapping) } : null;
}

/** The members of an enumeration, also one that is a part of a union. @param {Schema} schema @returns {any[] | null} */
export function readChoices(schema) {
  if (schema.enum) return schema.enum;
  if (schema.const !== undefined) return [schema.const];
  if (schema.anyOf?.every((part) => part.enum || part.const !== undefined)) return schema.anyOf.flatMap((part) => readChoices(part) || []);
  return null;
}

/** Whether an array holds numbers or strings, which one line can show. @param {Schema} schema @param {Record<string, Schema>} schemas */
export function isPlainArray(schema, schemas) {
  const items = schema.items ? resolveSchema(schema.items, schemas) : null;
  return schema.type === "array" && items !== null && ["number", "integer", "string"].includes(items.type);
}

/**
 * Read a value that was typed. Returns the text itself where it cannot be read, so that the API explains what is wrong.
 * @param {string} text
 * @param {Schema} schema
 * @returns {any}
 */
export function parseInput(text, schema) {
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
