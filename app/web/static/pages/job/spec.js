// The resolved spec of a job, as YAML and as code.
import { html, useState } from "../../lib/preact.js";
import { specToCurl, specToPython, specToR, specToYaml } from "../../lib/snippets.js";
import { CodeBlock } from "../../components/controls.js";

const FORMATS = /** @type {[string, string, (spec: any) => string][]} */ ([
  ["yaml", "YAML", specToYaml],
  ["curl", "curl", specToCurl],
  ["python", "Python", specToPython],
  ["r", "R", specToR],
]);

/** @param {{job: any}} properties */
export function SpecTab({ job }) {
  const [format, setFormat] = useState("yaml");
  const [, text, convert] = FORMATS.find(([name]) => name === format) || FORMATS[0];
  return html`
    <p class="dim">The spec with all defaults and the version of the dataset. Submitting it again trains the same network.</p>
    <div class="segments" role="group" aria-label="Format">
      ${FORMATS.map(([name, label]) => html`<button key=${name} type="button" aria-pressed=${name === format ? "true" : "false"} onClick=${() => setFormat(name)}>${label}</button>`)}
    </div>
    <${CodeBlock} label=${text} text=${convert(removeEmpty(job.spec))} />
  `;
}

/** Remove fields that are null: they have no meaning in a request. @param {any} value @returns {any} */
export function removeEmpty(value) {
  if (Array.isArray(value)) return value.map(removeEmpty);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== null).map(([key, item]) => [key, removeEmpty(item)]));
}
