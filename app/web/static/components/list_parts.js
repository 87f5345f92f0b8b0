// Parts of lists that the server sorts, filters and pages. What is chosen is in the address.
import { html, useEffect, useState } from "../lib/preact.js";
import { changeQuery, href } from "../lib/router.js";

/**
 * The heading of a column by which the list can be sorted.
 * @param {{name: string, text: string, sort: string, isNumber?: boolean, isAscending?: boolean}} properties
 *   sort: the present order; isAscending: the first press sorts in ascending order
 */
export function SortHeading({ name, text, sort, isNumber = false, isAscending = false }) {
  const direction = sort === name ? "ascending" : sort === `-${name}` ? "descending" : undefined;
  const [first, second] = isAscending ? [name, `-${name}`] : [`-${name}`, name];
  return html`<th scope="col" class=${isNumber ? "number" : ""} aria-sort=${direction}>
    <button type="button" class="sort" onClick=${() => changeQuery({ sort: sort === first ? second : first, cursor: null })}>${text}<span aria-hidden="true">${direction === "ascending" ? " ↑" : direction === "descending" ? " ↓" : ""}</span></button>
  </th>`;
}

/**
 * The line below a list: how much it shows, and the other pages.
 * @param {{path: string, query: URLSearchParams, next: string | null, children?: any}} properties
 */
export function Pager({ path, query, next, children }) {
  const turn = (cursor) => href(path, { ...Object.fromEntries(query), cursor });
  return html`<nav class="pager" aria-label="Pages">
    <span class="dim grow" role="status">${children}</span>
    ${query.get("cursor") && html`<a class="button" href=${turn(null)}>First page</a>`}
    ${next && html`<a class="button" href=${turn(next)}>Next page</a>`}
  </nav>`;
}

/** One value of a filter, or all. @param {{name: string, label: string, chosen: string, values: string[]}} properties */
export function FilterSelect({ name, label, chosen, values }) {
  return html`<label class="row">${label}
    <select value=${chosen} onChange=${(event) => changeQuery({ [name]: event.target.value, cursor: null })}>
      <option value="">all</option>
      ${[...new Set([chosen, ...values])].filter(Boolean).map((value) => html`<option key=${value} value=${value}>${value}</option>`)}
    </select>
  </label>`;
}

/** The text of a search field. The address follows when it has not changed for a moment. @param {string} stored the text in the address @returns {[string, (text: string) => void]} */
export function useSearchText(stored) {
  const [text, setText] = useState(stored);
  useEffect(() => setText(stored), [stored]);
  useEffect(() => {
    if (text === stored) return undefined;
    const timer = setTimeout(() => changeQuery({ q: text, cursor: null }), 250);
    return () => clearTimeout(timer);
  }, [text]);
  return [text, setText];
}
