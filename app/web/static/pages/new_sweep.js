// A new sweep: from the example, a job or another sweep.
import { html } from "../lib/preact.js";
import { useResource } from "../lib/resource.js";
import { href } from "../lib/router.js";
import { PageHead } from "../components/controls.js";
import { Lazy, Loaded } from "../components/feedback.js";

const loadForm = () => import("./sweep/form.js").then((module) => module.SweepForm); // with js-yaml, which is large

export default function NewSweepPage({ query }) {
  const [jobId, sweepId] = [query.get("from"), query.get("sweep")];
  const api = useResource("openapi.json");
  const job = useResource(jobId ? `v1/jobs/${jobId}` : null);
  const sweep = useResource(sweepId ? `v1/sweeps/${sweepId}` : null);
  const source = jobId ? job : sweepId ? sweep : api;
  return html`
    <${PageHead} title="New sweep" crumbs=${html`<a href=${href("/sweeps")}>Sweeps</a>`} />
    <${Loaded} resource=${api} lines=${10}>
      ${(document_) => html`<${Loaded} resource=${source} lines=${10}>${() => html`<${Lazy} load=${loadForm} api=${document_} job=${job.value} sweep=${sweep.value} />`}<//>`}
    <//>
  `;
}
