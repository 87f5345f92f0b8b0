// The evaluation of a job: images that it wrote.
import { html } from "../../lib/preact.js";
import { useResource } from "../../lib/resource.js";
import { EmptyState, Loaded } from "../../components/feedback.js";

/** @param {{job: any, query: URLSearchParams}} properties */
export function EvaluationTab({ job }) {
  const artifacts = useResource(`v1/jobs/${job.id}/artifacts`);
  return html`<${Loaded} resource=${artifacts}>
    ${(value) => {
      const images = value.items.filter((file) => file.name.endsWith(".png"));
      if (!images.length) return html`<${EmptyState} icon="models" title="No evaluation"><p>Add the callbacks <code>confusion_matrix</code> and <code>worst_samples</code>.</p><//>`;
      return images.map((file) => html`<img key=${file.name} class="preview" src=${`v1/jobs/${job.id}/artifacts/${file.name}`} alt=${file.name} />`);
    }}
  <//>`;
}
