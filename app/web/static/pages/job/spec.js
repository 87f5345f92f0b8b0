// The resolved spec of a job, as YAML and as code.
import { html } from "../../lib/preact.js";
import { specToCurl, specToPython, specToR, specToYaml } from "../../lib/snippets.js";
import { CodeBlock } from "../../components/controls.js";

export function SpecTab({ job }) {
  const spec = removeEmpty(job.spec);
  return html`
    <p class="dim">The spec with all defaults and the version of the dataset. Submitting it again trains the same network.</p>
    <${CodeBlock} blocks=${[["YAML", specToYaml(spec)], ["curl", specToCurl(spec)], ["Python", specToPython(spec)], ["R", specToR(spec)]]} />
  `;
}

/** Remove fields that are null: they have no meaning in a request. @param {any} value @returns {any} */
export function removeEmpty(value) {
  if (Array.isArray(value)) return value.map(removeEmpty);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== null).map(([key, item]) => [key, removeEmpty(item)]));
}
