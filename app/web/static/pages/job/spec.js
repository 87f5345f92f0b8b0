// The resolved spec of a job, as YAML and as code in other languages.
import { html } from "../../lib/preact.js";
import { removeEmpty, specToYaml } from "../../lib/specs.js";
import { CodeBlock } from "../../components/controls.js";

export function SpecTab({ job }) {
  const spec = removeEmpty(job.spec);
  return html`
    <p class="dim">The spec with all defaults and the version of the dataset. Submitting it again trains the same network.</p>
    <${CodeBlock} blocks=${[["YAML", specToYaml(spec)], ["curl", specToCurl(spec)], ["Python", specToPython(spec)], ["R", specToR(spec)]]} />
  `;
}

/** @param {any} spec */
function specToCurl(spec) {
  const json = JSON.stringify(spec, null, 2).replace(/'/g, "'\\''");
  return `curl -s ${location.origin}/v1/jobs -H 'Content-Type: application/json' -d '${json}'\n`;
}

/**
 * Write JSON values as a Python literal.
 * @param {any} value
 * @param {number} [indent]
 * @returns {string}
 */
function toPython(value, indent = 0) {
  const pad = "    ".repeat(indent + 1);
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map((item) => toPython(item, indent)).join(", ")}]`;
  if (typeof value === "object") {
    const entries = Object.entries(value);
    if (!entries.length) return "{}";
    return `{\n${entries.map(([key, item]) => `${pad}${JSON.stringify(key)}: ${toPython(item, indent + 1)},`).join("\n")}\n${"    ".repeat(indent)}}`;
  }
  return JSON.stringify(value);
}

/** @param {any} spec */
function specToPython(spec) {
  return `from candela import Client\n\nspec = ${toPython(spec)}\n\nwith Client("${location.origin}") as client:\n    job = client.jobs.submit(spec)\n    print(client.jobs.wait(job["id"])["metrics"])\n`;
}

/**
 * Write JSON values as R. A list of numbers or strings stays a list, so that one element does not become a scalar.
 * @param {any} value
 * @param {number} [indent]
 * @returns {string}
 */
function toR(value, indent = 0) {
  const pad = "  ".repeat(indent + 1);
  if (value === null || value === undefined) return "NULL";
  if (value === true) return "TRUE";
  if (value === false) return "FALSE";
  if (Array.isArray(value)) return `list(${value.map((item) => toR(item, indent)).join(", ")})`;
  if (typeof value === "object") {
    return `list(\n${Object.entries(value).map(([key, item]) => `${pad}${/^[A-Za-z][\w.]*$/.test(key) ? key : `\`${key}\``} = ${toR(item, indent + 1)}`).join(",\n")}\n${"  ".repeat(indent)})`;
  }
  return JSON.stringify(value);
}

/** @param {any} spec */
function specToR(spec) {
  return `library(httr)\nlibrary(jsonlite)\n\nspec <- ${toR(spec)}\n\nresponse <- POST("${location.origin}/v1/jobs", body = toJSON(spec, auto_unbox = TRUE, null = "null"), content_type_json())\ncontent(response)$id\n`;
}
