// The state of a view is in the fragment of its address: `#/jobs?state=running&sort=-created_at`.
import { buildPath } from "./api.js";
import { useEffect, useState } from "./preact.js";

/** @typedef {{path: string, segments: string[], query: URLSearchParams}} Route */

/** @returns {Route} */
export function readRoute() {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  const segments = path.split("/").filter(Boolean).map(decodeURIComponent);
  return { path: `/${segments.map(encodeURIComponent).join("/")}`, segments, query: new URLSearchParams(query) };
}

/** @returns {Route} */
export function useRoute() {
  const [route, setRoute] = useState(readRoute);
  useEffect(() => {
    const update = () => setRoute(readRoute());
    addEventListener("hashchange", update);
    return () => removeEventListener("hashchange", update);
  }, []);
  return route;
}

/**
 * Build the address of a view.
 * @param {string} path such as `/jobs/1`
 * @param {Record<string, string | number | boolean | null | undefined | string[]>} [query]
 */
export function href(path, query = {}) {
  return `#${buildPath(path, query)}`;
}

/** @param {string} address a value of `href` */
export function navigate(address) {
  location.hash = address;
}

/**
 * Change parameters of the current view. An empty value removes a parameter. The change is no entry in the history.
 * @param {Record<string, string | number | boolean | null | undefined | string[]>} changes
 */
export function changeQuery(changes) {
  const { path, query } = readRoute();
  const current = Object.fromEntries([...query.keys()].map((name) => [name, query.getAll(name)]));
  history.replaceState(null, "", href(path, { ...current, ...changes }));
  dispatchEvent(new HashChangeEvent("hashchange"));
}
