// The state of a view is in the fragment of its address: `#/jobs?state=running&sort=-created_at`.
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
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (Array.isArray(value)) value.forEach((item) => params.append(name, item));
    else if (value !== null && value !== undefined && value !== "" && value !== false) params.set(name, String(value));
  }
  const text = params.toString();
  return `#${path}${text ? `?${text}` : ""}`;
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
  const route = readRoute();
  for (const [name, value] of Object.entries(changes)) {
    route.query.delete(name);
    if (Array.isArray(value)) value.forEach((item) => route.query.append(name, item));
    else if (value !== null && value !== undefined && value !== "" && value !== false) route.query.set(name, String(value));
  }
  const text = route.query.toString();
  history.replaceState(null, "", `#${route.path}${text ? `?${text}` : ""}`);
  dispatchEvent(new HashChangeEvent("hashchange"));
}
