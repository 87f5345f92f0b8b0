// The spec of a sweep, as YAML and as JSON.
import { html } from "../../lib/preact.js";
import { removeEmpty, specToYaml } from "../../lib/specs.js";
import { CodeBlock } from "../../components/controls.js";

export function SweepSpecTab({ sweep }) {
  const spec = removeEmpty(sweep.spec);
  return html`
    <p class="dim">The spec with all defaults and the version of the dataset. Submitting it again searches the same space.</p>
    <${CodeBlock} blocks=${[["YAML", specToYaml(spec)], ["JSON", `${JSON.stringify(spec, null, 2)}\n`]]} />
  `;
}
