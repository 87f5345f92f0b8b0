// What happened to a job: its log, changes of its state, its files and its checkpoints.
import { html, useEffect, useMemo, useRef, useState } from "../../lib/preact.js";
import { useEvents } from "../../lib/events.js";
import { formatAge, formatBytes, formatCount, formatDuration, formatMetricName, formatTime, formatValue } from "../../lib/format.js";
import { ENDED } from "../../lib/jobs.js";
import { useResource, useThrottle } from "../../lib/resource.js";
import { href } from "../../lib/router.js";
import { Facts, SearchField, StateBadge, Table } from "../../components/controls.js";
import { EmptyState, Loaded } from "../../components/feedback.js";
import { Icon } from "../../components/icon.js";

export function HistoryTab({ job }) {
  const artifacts = useResource(`v1/jobs/${job.id}/artifacts`);
  return html`
    <div class="evaluation">
      <section class="card">
        <h2>States</h2>
        <ol class="timeline">
          ${job.transitions.map(
            (change, index, all) => html`<li key=${index}><${StateBadge} state=${change.to} /><span>${change.reason.replace(/_/g, " ")}</span><span class="dim number">${all[index + 1] ? formatDuration((Date.parse(all[index + 1].at) - Date.parse(change.at)) / 1000) : ""}</span><time class="dim number" datetime=${change.at}>${formatTime(change.at)}</time></li>`,
          )}
        </ol>
        <p class="dim after">${formatCount(job.attempt, "attempt")}</p>
        ${job.failure && html`<h3>Failure</h3><${Facts} items=${[["Code", job.failure.code], ["Kind", job.failure.kind], ...Object.entries(job.failure.facts).map(([name, value]) => /** @type {[string, any]} */ ([name.replace(/_/g, " "), formatValue(value)]))]} />`}
      </section>
      <section class="card">
        <h2>Files</h2>
        <${Loaded} resource=${artifacts} lines=${3}>
          ${(value) => {
            const { items } = value;
            return items.length
              ? html`<${Table} class="dense" label="Files" head=${["Name", "Size#"]} rows=${items.map((file) => [file.name, [html`<a href=${`v1/jobs/${job.id}/artifacts/${encodeURIComponent(file.name)}`} download><${Icon} name="download" /> ${file.name}</a>`, formatBytes(file.size_bytes)]])} />`
              : html`<p class="dim">This job has written no files.</p>`;
          }}
        <//>
      </section>
    </div>
  `;
}

export function CheckpointsTab({ job }) {
  const checkpoints = useResource(`v1/jobs/${job.id}/checkpoints`, { everyMs: ENDED.has(job.state) ? 0 : 5000 });
  return html`<${Loaded} resource=${checkpoints}>
    ${(value) => {
      const { items } = value;
      if (!items.length) return html`<${EmptyState} icon="download" title="No checkpoints"><p>A training job stores one after each epoch.</p><//>`;
      const names = [...new Set(items.flatMap((item) => Object.keys(item.metrics)))].filter((name) => !String(name).startsWith("train_"));
      const best = job.metrics_best?.epoch;
      return html`<${Table} label="Checkpoints" head=${["Checkpoint", "Epoch#", "Step#", ...names.map((name) => `${formatMetricName(String(name))}#`), "Size#", "Stored#", ""]}
        rows=${items.map((item) => [
          item.number,
          [
            html`${item.number} ${[...new Set([...item.tags, ...(item.epoch === best ? ["best"] : [])])].map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}`,
            item.epoch,
            item.step,
            ...names.map((name) => item.metrics[String(name)]),
            formatBytes(item.size_bytes),
            html`<span class="dim">${formatAge(item.created_at)}</span>`,
            html`<a class="button" href=${href("/predict", { job: job.id, checkpoint: item.number })}><${Icon} name="predict" /> Try it</a> <a class="button" href=${`v1/jobs/${job.id}/checkpoints/${item.number}/weights`} download><${Icon} name="download" /> Weights</a>`,
          ],
        ])} />`;
    }}
  <//>`;
}

export function LogTab({ job }) {
  const log = useResource(`v1/jobs/${job.id}/logs?last=1000`, { everyMs: ENDED.has(job.state) ? 0 : 5000 });
  const refresh = useThrottle(log.refresh);
  useEvents(ENDED.has(job.state) ? [] : [job.id], (event) => {
    if (event.type === "log" || event.type === "state") refresh();
  });
  return html`<${Loaded} resource=${log}>${(value) => html`<${Lines} job=${job} lines=${value.items} />`}<//>`;
}

function Lines({ job, lines }) {
  const [text, setText] = useState("");
  const [isFollowing, setFollowing] = useState(true);
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const shown = useMemo(() => lines.filter((line) => line.message.toLowerCase().includes(text.toLowerCase())), [lines, text]);
  useEffect(() => {
    if (isFollowing && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [shown, isFollowing]);
  const emptyText = lines.length
    ? "No line matches."
    : job.state === "queued"
      ? job.queue_reason || "The job waits for a worker. Lines appear when it starts."
      : ENDED.has(job.state)
        ? job.started_at ? "This job ended without a log line." : "This job ended before a worker started it."
        : "No line yet. The trainer reports warnings and events, not each step; see the curves for those.";
  return html`
    <div class="toolbar">
      <${SearchField} label="Filter lines" text=${text} onInput=${setText} />
      <label class="switch"><input type="checkbox" checked=${isFollowing} onChange=${() => setFollowing(!isFollowing)} /> Follow</label>
      <span class="dim">${shown.length} of ${lines.length} lines</span>
    </div>
    <div class="log" ref=${box} tabindex="0" role="log" aria-label="Log">
      ${!shown.length && html`<p class="dim">${emptyText}</p>`}
      ${shown.map((line) => html`<div key=${line.seq} class=${`log-line log-${line.level}`}><time class="dim" title=${formatTime(line.at)}>${new Date(line.at).toLocaleTimeString("en-GB")}</time> ${line.message}</div>`)}
    </div>
  `;
}
