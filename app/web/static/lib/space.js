// The search space of a sweep as rows of a form. What cannot be read stays text, so that the API explains what is wrong.

/**
 * @typedef {{key: number, pointer: string, type: string, low: string, high: string, log: boolean, step: string, values: string, when: string}} SpaceRow
 */

let numRows = 0;

/** @param {Partial<SpaceRow>} [fields] @returns {SpaceRow} */
export function buildRow(fields = {}) {
  numRows += 1;
  return { key: numRows, pointer: "", type: "float", low: "", high: "", log: false, step: "", values: "", when: "", ...fields };
}

/** @param {Record<string, any>} space @returns {SpaceRow[]} */
export function toRows(space) {
  const format = (value) => (value === undefined || value === null ? "" : String(value));
  return Object.entries(space).map(([pointer, { type, low, high, log = false, step, values = [], when }]) =>
    buildRow({ pointer, type, low: format(low), high: format(high), log, step: step === 1 && type === "int" ? "" : format(step), values: formatValues(values), when: formatConditions(when || {}) }),
  );
}

/** @param {SpaceRow[]} rows @returns {Record<string, any>} */
export function buildSpace(rows) {
  return Object.fromEntries(rows.filter((row) => row.pointer).map((row) => [row.pointer, buildParameter(row)]));
}

/** @param {SpaceRow} row */
function buildParameter({ type, low, high, log, step, values, when }) {
  const conditions = when.trim() && { when: parseConditions(when) };
  if (type === "choice") return { type, values: parseValues(values), ...conditions };
  return { type, low: parseNumber(low), high: parseNumber(high), ...(log && { log }), ...(step.trim() && { step: parseNumber(step) }), ...conditions };
}

/** A row that searches around a value. @param {string} pointer @param {any} value @returns {SpaceRow} */
export function suggestRow(pointer, value) {
  if (typeof value !== "number" || value <= 0) return buildRow({ pointer, type: "choice", values: formatValues([value ?? ""]) });
  const round = (number) => String(Number(number.toPrecision(1)));
  if (Number.isInteger(value)) return buildRow({ pointer, type: "int", low: String(Math.max(Math.round(value / 4), 1)), high: String(value * 4) });
  return buildRow({ pointer, low: round(value / 30), high: round(value * 30), log: true });
}

/** A key as a part of a JSON pointer. @param {string} key */
export function escapePart(key) {
  return key.replace(/~/g, "~0").replace(/\//g, "~1");
}

/** The pointers of all values of a document that a parameter can replace. @param {any} value @param {string} [pointer] @returns {[string, any][]} */
export function listPointers(value, pointer = "") {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [[pointer, value]];
  const inner = Object.entries(value).flatMap(([key, part]) => listPointers(part, `${pointer}/${escapePart(key)}`));
  return value.name && pointer ? [[pointer, value], ...inner] : inner;
}

/** @param {string} text */
function parseNumber(text) {
  return text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text);
}

/** Read values that are separated by commas: JSON, or words. @param {string} text @returns {any[]} */
function parseValues(text) {
  if (!text.trim()) return [];
  try {
    const values = JSON.parse(`[${text}]`);
    return values.length === 1 && Array.isArray(values[0]) ? values[0] : values;
  } catch {
    return splitText(text, ",").map(parseValue);
  }
}

/** Split a text, but not inside the strings of its JSON. @param {string} text @param {"," | ";"} separator */
function splitText(text, separator) {
  const parts = text.match(new RegExp(`(?:"(?:\\\\.|[^"\\\\])*"|[^${separator}])+`, "g")) || [];
  return parts.map((part) => part.trim()).filter(Boolean);
}

/** Read JSON, or a word. @param {string} text @returns {any} */
export function parseValue(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Whether a value is the same without quotation marks. @param {any} value */
function isWord(value) {
  return typeof value === "string" ? /^[\w.-]+$/.test(value) && parseValue(value) === value : value === null || typeof value !== "object";
}

/** @param {any[]} values @returns {string} */
export function formatValues(values) {
  return values.map((value) => (values.every(isWord) && typeof value === "string" ? value : JSON.stringify(value))).join(", ");
}

/** Read conditions such as `/optimizer/name = sgd, adam; /batch_size = 16`. @param {string} text @returns {Record<string, any>} */
function parseConditions(text) {
  return Object.fromEntries(
    splitText(text, ";").map((part) => {
      const [pointer, ...rest] = part.split("=");
      const values = parseValues(rest.join("="));
      return [pointer.trim(), values.length === 1 ? values[0] : values];
    }),
  );
}

/** @param {Record<string, any>} conditions */
function formatConditions(conditions) {
  return Object.entries(conditions).map(([pointer, value]) => `${pointer} = ${formatValues(Array.isArray(value) ? value : [value])}`).join("; ");
}
