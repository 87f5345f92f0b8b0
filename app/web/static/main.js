// The entry point: shows the page of the current address.
import { html, render, useEffect, useState } from "./lib/preact.js";
import { unauthorized } from "./lib/api.js";
import { forgetResponses } from "./lib/resource.js";
import { href, useRoute } from "./lib/router.js";
import { EmptyState, Lazy } from "./components/feedback.js";
import { Shell, SignIn } from "./components/shell.js";

const getPage = (module) => module.default;

/** The modules of the pages, keyed by the first segment of the address: of the list, and of one item by its id or name. */
const PAGES = /** @type {Record<string, (() => Promise<any>)[]>} */ ({
  jobs: [() => import("./pages/jobs.js").then(getPage), () => import("./pages/job.js").then(getPage)],
  compare: [() => import("./pages/compare.js").then(getPage)],
  new: [() => import("./pages/new_job.js").then(getPage)],
  datasets: [() => import("./pages/datasets.js").then(getPage), () => import("./pages/datasets.js").then((module) => module.DatasetPage)],
  models: [() => import("./pages/models.js").then(getPage), () => import("./pages/models.js").then((module) => module.ModelPage)],
  predict: [() => import("./pages/predict.js").then(getPage)],
  system: [() => import("./pages/system.js").then(getPage)],
});

function App() {
  const { segments, query } = useRoute();
  const [isSignedOut, setSignedOut] = useState(false);
  useEffect(() => {
    const showSignIn = () => setSignedOut(true);
    unauthorized.addEventListener("problem", showSignIn);
    return () => unauthorized.removeEventListener("problem", showSignIn);
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
    ${load ? html`<${Lazy} key=${`${section}/${argument || ""}/${query.get("from") || ""}`} load=${load} name=${argument} query=${query} />` : html`<${EmptyState} icon="search" title="No such page"><p><code>#/${segments.join("/")}</code> does not belong to a page.</p><p>${["jobs", "datasets", "models"].map((name) => html`<a key=${name} class="button" href=${href(`/${name}`)}>${name[0].toUpperCase()}${name.slice(1)}</a> `)}</p><//>`}
  <//>`;
}

render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
