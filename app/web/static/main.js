// The entry point: the frame with the navigation, the theme and the keys, sign-in, and the page of the current address.
import { html, render, useEffect, useState } from "./lib/preact.js";
import { Problem, request, unauthorized } from "./lib/api.js";
import { forgetResponses } from "./lib/resource.js";
import { href, navigate, useRoute } from "./lib/router.js";
import { Dialog } from "./components/controls.js";
import { EmptyState, Lazy, ProblemNotice, Toasts } from "./components/feedback.js";
import { Icon } from "./components/icon.js";

/** The navigation: the path, the icon, the text and the key that follows `g`. */
const ENTRIES = /** @type {[string, any, string, string][]} */ ([
  ["/jobs", "jobs", "Jobs", "j"],
  ["/compare", "compare", "Compare", "c"],
  ["/new", "plus", "New job", "n"],
  ["/sweeps", "sweeps", "Sweeps", "w"],
  ["/datasets", "datasets", "Datasets", "d"],
  ["/models", "models", "Models", "m"],
  ["/predict", "predict", "Try it", "t"],
  ["/system", "system", "System", "s"],
]);

function Shell({ children }) {
  const { segments } = useRoute();
  const [isHelpOpen, setHelpOpen] = useState(false);
  useKeys(() => setHelpOpen(true));
  const section = `/${segments[0] || "jobs"}`;
  return html`<div class="shell">
    <header class="sidebar">
      <a class="brand" href=${href("/jobs")}><img src="ui/static/icon.svg" alt="" width="18" height="18" /> <span>Candela</span></a>
      <nav aria-label="Main">
        ${ENTRIES.map(
          ([path, icon, text]) => html`<a key=${path} href=${href(path)} aria-current=${path === section ? "page" : undefined}>
            <${Icon} name=${icon} /><span>${text}</span>
          </a>`,
        )}
      </nav>
      <div class="sidebar-foot">
        <a href="docs" target="_blank" rel="noopener"><${Icon} name="docs" /><span>API</span></a>
        <${ThemeButton} />
        <button type="button" class="bare" aria-label="Keyboard shortcuts" onClick=${() => setHelpOpen(true)}>?</button>
      </div>
    </header>
    <main id="main" tabindex="-1">${children}</main>
    ${isHelpOpen && html`<${Help} onClose=${() => setHelpOpen(false)} />`}
    <${Toasts} />
  </div>`;
}

function ThemeButton() {
  const [dark, setDark] = useState(document.documentElement.dataset.theme === "dark");
  const toggle = () => {
    const theme = dark ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("candela.theme", theme);
    setDark(!dark);
    dispatchEvent(new Event("themechange"));
  };
  return html`<button type="button" class="bare" aria-label=${dark ? "Light theme" : "Dark theme"} onClick=${toggle}><${Icon} name=${dark ? "sun" : "moon"} /></button>`;
}

/** @param {() => void} openHelp */
function useKeys(openHelp) {
  useEffect(() => {
    let isWaiting = false;
    const handle = (event) => {
      const target = /** @type {HTMLElement} */ (event.target);
      if (event.ctrlKey || event.metaKey || event.altKey || /^(input|textarea|select)$/i.test(target.tagName) || target.isContentEditable) return;
      if (isWaiting) {
        isWaiting = false;
        const entry = ENTRIES.find(([, , , key]) => key === event.key);
        if (entry) navigate(href(entry[0]));
      } else if (event.key === "g") {
        isWaiting = true;
        setTimeout(() => (isWaiting = false), 1500);
      } else if (event.key === "?") {
        openHelp();
      } else if (event.key === "/") {
        const search = /** @type {HTMLElement | null} */ (document.querySelector("input[type=search]"));
        if (search) {
          event.preventDefault();
          search.focus();
        }
      }
    };
    addEventListener("keydown", handle);
    return () => removeEventListener("keydown", handle);
  }, []);
}

function Help({ onClose }) {
  const keys = [["/", "Search"], ["?", "Show this list"], ["Escape", "Close a dialog or a menu"], ...ENTRIES.map(([, , text, key]) => [`g ${key}`, text])];
  return html`<${Dialog} title="Keyboard shortcuts" onClose=${onClose}>
    <dl class="keys">
      ${keys.map(([key, text]) => html`<div key=${key}><dt>${key.split(" ").map((part) => html`<kbd key=${part}>${part}</kbd> `)}</dt><dd>${text}</dd></div>`)}
    </dl>
  <//>`;
}

function SignIn({ onSignedIn }) {
  const [key, setKey] = useState("");
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const signIn = async (event) => {
    event.preventDefault();
    try {
      await request("v1/session", { method: "POST", json: { key } });
      setKey("");
      onSignedIn();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setProblem(error);
    }
  };
  return html`<main id="main" class="sign-in" tabindex="-1">
    <form class="card" onSubmit=${signIn}>
      <h1><img src="ui/static/icon.svg" alt="" width="22" height="22" /> Candela</h1>
      <p>This service requires an API key.</p>
      <label class="field">API key <input type="password" required autocomplete="current-password" value=${key} onInput=${(event) => setKey(event.target.value)} /></label>
      ${problem && html`<${ProblemNotice} problem=${problem} />`}
      <button type="submit" class="primary"><${Icon} name="key" /> Sign in</button>
      <p class="dim">The key is exchanged for a cookie. It is not stored in this browser.</p>
    </form>
  </main>`;
}

const getPage = (module) => module.default;

/** The modules of the pages, keyed by the first segment of the address: of the list, and of one item by its id or name. A key of two segments has precedence. */
const PAGES = /** @type {Record<string, (() => Promise<any>)[]>} */ ({
  jobs: [() => import("./pages/jobs.js").then(getPage), () => import("./pages/job.js").then(getPage)],
  compare: [() => import("./pages/compare.js").then(getPage)],
  new: [() => import("./pages/new_job.js").then(getPage)],
  sweeps: [() => import("./pages/sweeps.js").then(getPage), () => import("./pages/sweep.js").then(getPage)],
  "sweeps/new": [() => import("./pages/new_sweep.js").then(getPage)],
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
  const own = `${section}/${argument}`;
  const load = Object.hasOwn(PAGES, own) ? PAGES[own][0] : Object.hasOwn(PAGES, section) ? PAGES[section][argument ? 1 : 0] : null;
  const source = section === "new" || argument === "new" ? query.get("from") || query.get("sweep") : ""; // a form starts again with another one
  return html`<${Shell}>
    ${load ? html`<${Lazy} key=${`${section}/${argument || ""}/${source || ""}`} load=${load} name=${argument} query=${query} />` : html`<${EmptyState} icon="search" title="No such page"><p><code>#/${segments.join("/")}</code> does not belong to a page.</p><p>${["jobs", "datasets", "models"].map((name) => html`<a key=${name} class="button" href=${href(`/${name}`)}>${name[0].toUpperCase()}${name.slice(1)}</a> `)}</p><//>`}
  <//>`;
}

render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
