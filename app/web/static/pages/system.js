// The workers, the queue, the disk usage and the versions of the service.
import { html } from "../lib/preact.js";
import { buildPath } from "../lib/api.js";
import { formatAge, formatBytes, formatCount, formatTime } from "../lib/format.js";
import { useResource } from "../lib/resource.js";
import { href } from "../lib/router.js";
import { CopyButton, Facts, PageHead, StackedBar, StateBadge, Table } from "../components/controls.js";
import { EmptyState, Loaded } from "../components/feedback.js";

const MAX_QUEUED = 20;

export default function SystemPage() {
  const system = useResource("v1/system", { everyMs: 5000 });
  const queue = useResource(buildPath("v1/jobs", { state: "queued", sort: "created_at", limit: MAX_QUEUED }), { everyMs: 5000 });
  const isHealthy = system.value?.workers.some((one) => one.is_consuming) && system.value.inference.every((one) => one.pid);
  return html`
    <${PageHead} title="System" badge=${system.value && html`<${StateBadge} state=${isHealthy ? "healthy" : "degraded"} />`} />
    <${Loaded} resource=${system}>
      ${(value) => html`
        <p class="counts">${Object.entries(value.jobs).map(([state, count]) => (count ? html`<a key=${state} href=${href("/jobs", { state })}><b>${count}</b> ${state}</a>` : html`<span key=${state} class="dim">0 ${state}</span>`))}</p>
        <h2>Workers</h2>
        ${value.workers.length === 0
          ? html`<${EmptyState} icon="system" title="No worker"><p>Jobs wait until a worker starts: <code>candela worker</code>, or <code>candela up</code> on one machine.</p><//>`
          : html`<${Table} label="Workers" head=${["Worker", "Host", "Jobs at once#", "Devices", "Current job", "Connection to the queue", "Last seen#", "Started#"]} rows=${value.workers.map((one) => [one.id, listCells(one)])} />`}
        <h2>Queue <span class="dim">${value.queue_depth}</span></h2>
        ${queue.value?.items.length
          ? html`<${Table} label="Queue" head=${["Job", "Jobs before it#", "Waits for", "Waiting since#"]}>${queue.value.items.map((job) => html`<${QueueRow} key=${job.id} id=${job.id} />`)}<//>`
          : html`<p class="dim">No job waits. Workers take a new job at once.</p>`}
        ${value.queue_depth > MAX_QUEUED && html`<p><a href=${href("/jobs", { state: "queued" })}>All ${formatCount(value.queue_depth, "queued job")}</a></p>`}
        ${value.disk && html`<${Disk} disk=${value.disk} />`}
        <${Versions} system=${value} />
      `}
    <//>
  `;
}

function listCells(worker) {
  return [
    html`<code>${worker.id}</code>`,
    worker.host,
    worker.slots,
    worker.devices.map((device) => [device.model || device.name, device.threads && formatCount(device.threads, "thread"), device.memory_bytes && formatBytes(device.memory_bytes)].filter(Boolean).join(" · ")).join(", "),
    worker.jobs.length ? worker.jobs.map((id) => html`<${JobLink} key=${id} id=${id} /> `) : html`<span class="dim">idle</span>`,
    worker.is_consuming ? "connected" : html`<strong class="bad">receives nothing</strong>`,
    html`<span class="dim">${formatAge(worker.beat_at)}</span>`,
    html`<span class="dim" title=${formatTime(worker.started_at)}>${formatAge(worker.started_at)}</span>`,
  ];
}

function JobLink({ id }) {
  return html`<a href=${href(`/jobs/${id}`)}>${useResource(`v1/jobs/${id}`).value?.name || id.slice(0, 8)}</a>`;
}

/** A queued job. Its position and its reason are fields of the job, but not of the list. */
function QueueRow({ id }) {
  const job = useResource(`v1/jobs/${id}`, { everyMs: 10000 }).value;
  if (!job) return null;
  return html`<tr>
    <th scope="row"><a href=${href(`/jobs/${id}`)}>${job.name}</a></th><td class="number" data-label="Jobs before it">${job.queue_position ?? "–"}</td>
    <td class="wrap" data-label="Waits for">${job.waits_for ? `the import of ${job.waits_for.name}@${job.waits_for.version}` : job.queue_reason || "a free slot"}</td><td class="number dim" data-label="Waiting since">${formatAge(job.created_at)}</td>
  </tr>`;
}

function Disk({ disk }) {
  const kinds = /** @type {[string, number][]} */ (Object.entries(disk.kinds)).filter(([, bytes]) => bytes > 0).sort((a, b) => b[1] - a[1]);
  return html`<h2>Disk <span class="dim">measured ${formatAge(disk.computed_at)}</span></h2>
    <div class="card"><${StackedBar} parts=${[...kinds, ["free", disk.free_bytes]].map(([kind, bytes]) => [kind, bytes, formatBytes(/** @type {number} */ (bytes))])} /></div>`;
}

function Versions({ system }) {
  const inference = system.inference.map((one) => `${one.device_name || one.device}, ${formatCount(one.threads, "thread")}, ${one.pid ? `process ${one.pid}` : "restarting"}`).join("; ");
  const items = [...Object.entries(system.versions), ["inference", inference]];
  return html`<header class="section-head"><h2>Versions</h2><${CopyButton} text=${items.map((item) => item.join(" ")).join("\n")} /></header>
    <div class="card"><${Facts} items=${items} /></div>`;
}
