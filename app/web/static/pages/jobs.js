// The list of jobs: search, filters, sorting, chosen columns, and actions on several jobs.
import { html, useMemo, useState } from "../lib/preact.js";
import { buildPath, request } from "../lib/api.js";
import { getStroke } from "../lib/colors.js";
import { useEvents } from "../lib/events.js";
import { formatAge, formatCount, formatDuration, formatMetricName, formatNumber, formatTime } from "../lib/format.js";
import { ACTIVE, DEMO, getDuration, KINDS, listMetricNames, runAction, STATES } from "../lib/jobs.js";
import { usePreference } from "../lib/preferences.js";
import { useResource, useThrottle } from "../lib/resource.js";
import { changeQuery, href, navigate } from "../lib/router.js";
import { isLowerBetter, toCurve } from "../lib/series.js";
import { Sparkline } from "../components/chart.js";
import { JobProgress, Menu, PageHead, SearchField, StateBadge, Table } from "../components/controls.js";
import { attempt, EmptyState, Loaded, showToast } from "../components/feedback.js";
import { Icon } from "../components/icon.js";
import { FilterSelect, Pager, SortHeading, useSearchText } from "../components/list_parts.js";

const LIMIT = 50;
const FILTERS = ["q", "state", "kind", "tag", "model", "dataset", "sweep"];
const NUM_DEFAULT_METRICS = 2;

export default function JobsPage({ query }) {
  const filters = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) || ""]));
  const sort = query.get("sort") || "-created_at";
  const cursor = query.get("cursor");
  const path = buildPath("v1/jobs", { ...filters, sort, cursor, limit: LIMIT });
  const jobs = useResource(path, { everyMs: 10000 });
  const refresh = useThrottle(jobs.refresh, 1000);
  useEvents(["*"], refresh);
  const [selected, setSelected] = useState(/** @type {string[]} */ ([]));
  const items = jobs.value?.items || [];
  const names = listMetricNames(items);
  const [stored, setMetrics] = usePreference("job-metrics", /** @type {string[] | null} */ (null));
  const metrics = (stored || names.filter((name) => name.startsWith("valid_")).slice(0, NUM_DEFAULT_METRICS)).filter((name) => names.includes(name));
  const isEmpty = jobs.value && items.length === 0 && !cursor && FILTERS.every((name) => !filters[name]);
  return html`
    <${PageHead} title="Jobs">${!isEmpty && html`<a class="button primary" href=${href("/new")}><${Icon} name="plus" /> New job</a>`}<//>
    ${!isEmpty &&
    html`<${Filters} filters=${filters} jobs=${items}>
      <${Menu} label=${html`<${Icon} name="columns" /> Metrics`}>
        ${names.length === 0 && html`<p class="dim">No metrics yet.</p>`}
        ${names.map(
          (name) => html`<label class="row" key=${name}>
            <input type="checkbox" checked=${metrics.includes(name)} onChange=${() => setMetrics(metrics.includes(name) ? metrics.filter((other) => other !== name) : [...metrics, name])} />
            ${formatMetricName(name)}
          </label>`,
        )}
      <//>
    <//>`}
    <${Loaded} resource=${jobs} lines=${12}>
      ${(page) => (isEmpty ? html`<${FirstJob} />` : html`<${JobTable} page=${page} sort=${sort} metrics=${metrics} selected=${selected} onSelect=${setSelected} query=${query} />`)}
    <//>
    ${selected.length > 0 && html`<${Tray} selected=${selected} onClear=${() => setSelected([])} onDone=${jobs.refresh} />`}
  `;
}

function FirstJob() {
  const [isBusy, setBusy] = useState(false);
  const start = () =>
    attempt(async () => {
      setBusy(true);
      const job = await request("v1/jobs", { method: "POST", json: DEMO }).finally(() => setBusy(false));
      navigate(href(`/jobs/${job.id}`));
    });
  return html`<${EmptyState} icon="jobs" title="Train your first network">
    <p>The demo trains a small convolutional network on 1,797 scanned digits. It takes less than a minute on a laptop.</p>
    <button type="button" class="primary large" disabled=${isBusy} onClick=${start}><${Icon} name="play" /> Train the digits demo</button>
    <p>Or <a href=${href("/new")}>write your own job</a>, or <a href=${href("/datasets")}>upload images</a>.</p>
  <//>`;
}

function Filters({ filters, jobs, children }) {
  const [text, setText] = useSearchText(filters.q);
  const [views, setViews] = usePreference("job-views", /** @type {{name: string, address: string}[]} */ ([]));
  const select = (name, values, label) => html`<${FilterSelect} key=${name} name=${name} label=${label} chosen=${filters[name]} values=${values} />`;
  const active = FILTERS.filter((name) => filters[name]);
  const save = () => {
    const name = active.map((one) => filters[one]).join(" · ") || "All jobs";
    setViews([...views.filter((view) => view.name !== name), { name, address: location.hash }]);
    showToast(`Saved the view “${name}”`, { undo: () => setViews(views) });
  };
  return html`<form class="toolbar" role="search" onSubmit=${(event) => event.preventDefault()}>
    <${SearchField} label="Search jobs by name or id" text=${text} onInput=${setText} />
    <${Menu} label="Filter">${select("state", STATES, "State")} ${select("kind", KINDS, "Kind")}<${MoreFilters} select=${select} tags=${[...new Set(jobs.flatMap((job) => job.tags))].sort()} /><//>
    ${active.filter((name) => name !== "q").map(
      (name) => html`<button type="button" key=${name} class="chip" onClick=${() => changeQuery({ [name]: null })}>${name}: ${name === "sweep" ? filters[name].slice(0, 8) : filters[name]} <${Icon} name="close" /><span class="sr-only">Remove the filter</span></button>`,
    )}
    ${active.length > 0 && html`<button type="button" class="bare" onClick=${() => changeQuery(Object.fromEntries(FILTERS.map((name) => [name, null])))}>Clear</button>`}
    <span class="grow only-wide"></span>
    ${children}
    <${Menu} label="Views">
      ${views.length === 0 && html`<p class="dim">No saved views.</p>`}
      ${views.map(
        (view) => html`<div class="row" key=${view.name}>
          <a href=${view.address}>${view.name}</a>
          <button type="button" class="bare" aria-label=${`Delete the view ${view.name}`} onClick=${() => setViews(views.filter((other) => other !== view))}><${Icon} name="trash" /></button>
        </div>`,
      )}
      <button type="button" onClick=${save}>Save this view</button>
    <//>
  </form>`;
}

/** The filters whose values are loaded when the menu opens. */
function MoreFilters({ select, tags }) {
  const names = (kind) => (useResource(`v1/${kind}?limit=200`).value?.items || []).map((one) => one.name);
  return [select("model", names("models"), "Model"), select("dataset", names("datasets"), "Dataset"), select("tag", tags, "Tag")];
}

function JobTable({ page, sort, metrics, selected, onSelect, query }) {
  const jobs = page.items;
  const curve = metrics[0] || "train_loss";
  const sparklines = useSparklines(jobs, curve);
  const ids = jobs.map((job) => job.id);
  const toggle = (id) => onSelect(selected.includes(id) ? selected.filter((other) => other !== id) : [...selected, id]);
  const areAllSelected = ids.length > 0 && ids.every((id) => selected.includes(id));
  const toggleAll = () => onSelect(areAllSelected ? selected.filter((id) => !ids.includes(id)) : [...new Set([...selected, ...ids])]);
  const header = (key, text, isNumber = false) => html`<${SortHeading} name=${key} text=${text} sort=${sort} isNumber=${isNumber} isAscending=${key.startsWith("metrics.") && isLowerBetter(key)} />`;
  return html`
    <${Table} class="jobs" label="Jobs" head=${[
      html`<th key="check" scope="col" class="check"><input type="checkbox" aria-label="Select all jobs of this page" checked=${areAllSelected} onChange=${toggleAll} /></th>`,
      header("name", "Name"),
      header("state", "State"),
      html`<th key="dataset" scope="col" class="dataset">Dataset</th>`,
      ...metrics.map((name) => header(`metrics.${name}.best`, `${formatMetricName(name)} · best`, true)),
      html`<th key="trend" scope="col" class="curve" title=${formatMetricName(curve)}>Trend</th>`,
      header("duration", "Duration", true),
      header("created_at", "Created", true),
    ]}>
      ${jobs.map((job) => html`<${JobRow} key=${job.id} job=${job} metrics=${metrics} curve=${sparklines.get(job.id)} curveName=${curve} index=${selected.indexOf(job.id)} onToggle=${toggle} />`)}
    <//>
    <${Pager} path="/jobs" query=${query} next=${page.next_cursor}>${jobs.length === 0 ? "No job matches." : `${formatCount(jobs.length, "job")}${page.next_cursor ? " on this page" : ""}${jobs.length > 1 && !selected.length ? ". Select jobs to compare them." : ""}`}<//>
  `;
}

function JobRow({ job, metrics, curve, curveName, index, onToggle }) {
  const { dataset } = job;
  return html`<tr class=${index >= 0 ? "selected" : ""}>
    <td class="check"><input type="checkbox" aria-label=${`Select ${job.name}`} checked=${index >= 0} style=${{ accentColor: index >= 0 ? getStroke(index).color : "" }} onChange=${() => onToggle(job.id)} /></td>
    <th scope="row" class="name" title=${job.name}>
      <a href=${href(`/jobs/${job.id}`)}>${job.name}</a>
      ${job.kind !== "train" && html` <span class="dim">${job.kind}</span>`}
      ${job.tags.map((tag) => html`<a key=${tag} class="tag" href=${href("/jobs", { tag })}>${tag}</a>`)}
    </th>
    <td class="state">${job.state === "running" ? html`<${JobProgress} job=${job} isShort />` : html`<${StateBadge} state=${job.state} />`}</td>
    <td class="dataset">${dataset ? html`<a href=${href(`/datasets/${dataset.name}`)}>${dataset.name}</a><span class="dim">@${dataset.version}</span>` : html`<span class="dim">–</span>`}</td>
    ${metrics.map((name) => {
      const best = job.best_values[name];
      return html`<td class="number" key=${name} title=${best?.epoch ? `best of all epochs: epoch ${best.epoch}; last ${formatNumber(job.metrics[name])}` : undefined}>${formatNumber(best?.value ?? job.metrics[name])}</td>`;
    })}
    <td class="curve">${curve ? html`<${Sparkline} values=${curve} label=${`${formatMetricName(curveName)} of ${job.name}`} />` : html`<span class="sparkline-place"></span>`}</td>
    <td class="number">${formatDuration(getDuration(job))}</td>
    <td class="number dim created" title=${formatTime(job.created_at)}>${formatAge(job.created_at)}</td>
  </tr>`;
}

/** A curve of each job of a page, in one request. @param {any[]} jobs @param {string} metric @returns {Map<string, any>} */
function useSparklines(jobs, metric) {
  const ids = jobs.filter((job) => job.kind === "train" && job.started_at).map((job) => job.id);
  const isActive = jobs.some((job) => ACTIVE.has(job.state));
  const [split, ...name] = metric.split("_");
  const path = ids.length ? buildPath("v1/metrics", { job: ids, name: name.join("_"), split, buckets: 200 }) : null;
  const grid = useResource(path, { everyMs: isActive ? 10000 : 0 });
  return useMemo(() => {
    const isValue = (value) => value !== null;
    return new Map(
      (grid.value?.series || []).map((series) => {
        const values = toCurve(series.last);
        return [series.job, values.slice(values.findIndex(isValue), values.findLastIndex(isValue) + 1)];
      }),
    );
  }, [grid.value]);
}

/** What can be done with the selected jobs. */
function Tray({ selected, onClear, onDone }) {
  const [tag, setTag] = useState("");
  const cancel = () =>
    attempt(async () => {
      const results = await Promise.allSettled(selected.map((id) => runAction(id, "cancel")));
      const numFailed = results.filter((result) => result.status === "rejected").length;
      showToast(numFailed ? `${formatCount(numFailed, "job")} cannot be cancelled: it has ended.` : `Cancelled ${formatCount(selected.length, "job")}`, { isBad: numFailed > 0 });
      onDone();
    });
  const addTag = (event) => {
    event.preventDefault();
    return attempt(async () => {
      const jobs = await Promise.all(selected.map((id) => request(`v1/jobs/${id}`)));
      await Promise.all(jobs.map((job) => request(`v1/jobs/${job.id}`, { method: "PATCH", json: { tags: [...new Set([...(job.tags), tag])] } })));
      setTag("");
      onDone();
    });
  };
  return html`<div class="tray" role="region" aria-label="Selected jobs">
    <strong>${formatCount(selected.length, "job")} selected</strong>
    <a class="button primary" href=${href("/compare", { job: selected })}><${Icon} name="compare" /> Compare ${selected.length}</a>
    <form onSubmit=${addTag}><input aria-label="Tag" placeholder="Tag" maxlength="63" required value=${tag} onInput=${(event) => setTag(event.target.value)} /><button type="submit"><${Icon} name="tag" /> Add tag</button></form>
    <button type="button" onClick=${cancel}><${Icon} name="stop" /> Cancel</button>
    <button type="button" class="bare" onClick=${onClear}>Clear</button>
  </div>`;
}
