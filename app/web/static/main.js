// The entry point: shows the page of the current address.
import { html, render, useEffect, useState } from "./lib/preact.js";
import { unauthorized } from "./lib/api.js";
import { forgetResponses } from "./lib/resource.js";
import { href, useRoute } from "./lib/router.js";
import { EmptyState, Skeleton } from "./components/feedback.js";
import { Shell } from "./components/shell.js";
import { SignIn } from "./pages/sign_in.js";

/** The modules of the pages, keyed by the first segment of the address: of the list, and of one item by its id or name. */
const PAGES = /** @type {Record<string, (() => Promise<any>)[]>} */ ({
  jobs: [() => import("./pages/jobs.js"), () => import("./pages/job.js")],
  compare: [() => import("./pages/compare.js")],
  new: [() => import("./pages/new_job.js")],
  datasets: [() => import("./pages/datasets.js"), () => import("./pages/dataset.js")],
  models: [() => import("./pages/models.js"), () => import("./pages/model.js")],
  predict: [() => import("./pages/predict.js")],
  system: [() => import("./pages/system.js")],
});

/** @param {{load: () => Promise<any>, name: string | undefined, query: URLSearchParams}} properties */
function Page({ load, name, query }) {
  const [module, setModule] = useState(/** @type {any} */ (null));
  useEffect(() => {
    let isCurrent = true;
    load().then((loaded) => isCurrent && setModule(() => loaded));
    return () => {
      isCurrent = false;
    };
  }, [load]);
  if (!module) return html`<${Skeleton} />`;
  return html`<${module.default} name=${name} query=${query} key=${name || query.get("from")} />`;
}

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
  const load = Object.hasOwn(PAGES, section) ? PAGES[section][argument ? 1 : 0] : null;
  return html`<${Shell}>
    ${load ? html`<${Page} key=${load} load=${load} name=${argument} query=${query} />` : html`<${EmptyState} icon="search" title="No such page"><p>The address does not belong to a page. <a href=${href("/jobs")}>Go to the jobs</a>.</p><//>`}
  <//>`;
}

render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
