// The entry point: shows the page of the current address.
import { html, render, useEffect, useState } from "./lib/preact.js";
import { unauthorized } from "./lib/api.js";
import { forgetResponses } from "./lib/resource.js";
import { href, useRoute } from "./lib/router.js";
import { EmptyState } from "./components/feedback.js";
import { Shell } from "./components/shell.js";
import { ComparePage } from "./pages/compare.js";
import { DatasetPage } from "./pages/dataset.js";
import { DatasetsPage } from "./pages/datasets.js";
import { JobPage } from "./pages/job.js";
import { JobsPage } from "./pages/jobs.js";
import { ModelPage } from "./pages/model.js";
import { ModelsPage } from "./pages/models.js";
import { NewJobPage } from "./pages/new_job.js";
import { PredictPage } from "./pages/predict.js";
import { SignIn } from "./pages/sign_in.js";
import { SystemPage } from "./pages/system.js";

/** The pages, keyed by the first segment of the address. The second segment is an id or a name. */
const PAGES = /** @type {Record<string, (argument: string | undefined, query: URLSearchParams) => any>} */ ({
  jobs: (id, query) => (id ? html`<${JobPage} id=${id} query=${query} key=${id} />` : html`<${JobsPage} query=${query} />`),
  compare: (_, query) => html`<${ComparePage} query=${query} />`,
  new: (_, query) => html`<${NewJobPage} query=${query} key=${query.get("from") || ""} />`,
  datasets: (name, query) => (name ? html`<${DatasetPage} name=${name} query=${query} key=${name} />` : html`<${DatasetsPage} />`),
  models: (name, query) => (name ? html`<${ModelPage} name=${name} query=${query} key=${name} />` : html`<${ModelsPage} />`),
  predict: (_, query) => html`<${PredictPage} query=${query} />`,
  system: () => html`<${SystemPage} />`,
});

function App() {
  const { segments, query } = useRoute();
  const [isSignedOut, setSignedOut] = useState(false);
  useEffect(() => {
    const ask = () => setSignedOut(true);
    unauthorized.addEventListener("problem", ask);
    return () => unauthorized.removeEventListener("problem", ask);
  }, []);
  const [section = "jobs", argument] = segments;
  useEffect(() => {
    document.getElementById("main")?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }, [section, argument]);
  if (isSignedOut) {
    const enter = () => {
      forgetResponses();
      setSignedOut(false);
    };
    return html`<${SignIn} onSignedIn=${enter} />`;
  }
  const show = Object.hasOwn(PAGES, section) ? PAGES[section] : null;
  return html`<${Shell}>
    ${show ? show(argument, query) : html`<${EmptyState} icon="search" title="No such page"><p>The address does not belong to a page. <a href=${href("/jobs")}>Go to the jobs</a>.</p><//>`}
  <//>`;
}

render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
