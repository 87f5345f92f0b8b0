// The workers, the queue, the disk usage and the versions of the service.
import { html } from "../lib/preact.js";
import { buildPath } from "../lib/api.js";
import { formatAge, formatBytes, formatCount, formatTime } from "../lib/format.js";
import { useResource } from "../lib/resource.js";
import { href } from "../lib/router.js";
import { Bars, PageHead, Table } from "../components/controls.js";
import { EmptyState, Loaded } from "../components/feedback.js";

const MAX_QUEUED = 20;

export default function SystemPage() {
  const system = useResource("v1/system", { everyMs: 5000 });
  const queue = useResource(buildPath("v1/jobs", { state: "queued", sort: "created_at", limit: MAX_QUEUED }), { everyMs: 5000 });
  return html`
    <${PageHead} title="System" />
    <${Loaded} resource=${system}>
      ${(value) => html`
        <p class="counts">${Object.entries(value.jobs).map(([state, count]) => html`<a key=${state} href=${href("/jobs", { state })}><b>${count}</b> ${state}</a>`)}</p>
        <h2>Workers</h2>
        ${value.workers.length === 0
          ? html`<${EmptyState} icon="system" title="No worker"><p>Jobs wait until a worker starts: <code>candela worker</code>, or <code>candela up</code> on one machine.</p><//>`
          : html`<${Table} label="Workers" head=${["Worker", "Host", "Slots#", "Devices", "Current job", "Broker", "Heartbeat#", "Started#"]}>${value.workers.map((one) => html`<${WorkerRow} key=${one.id} worker=${one} />`)}<//>`}
        <h2>Queue <span class="dim">${value.queue_depth}</span></h2>
        ${queue.value?.items.length
          ? html`<${Table} label="Queue" head=${["Before it#", "Job", "Waits for", "Waiting since#"]}>${queue.value.items.map((job) => html`<${QueueRow} key=${job.id} id=${job.id} />`)}<//>`
          : html`<p class="dim">No job waits. Workers take a new job at once.</p>`}
        ${value.queue_depth > MAX_QUEUED && html`<p><a href=${href("/jobs", { state: "queued" })}>All ${formatCount(value.queue_depth, "queued job")}</a></p>`}
        ${value.disk && html`<${Disk} disk=${value.disk} />`}
        <p class="dim versions">${Object.entries({ ...value.versions, inference: value.inference.map((one) => `${one.device_name || one.device}, ${formatCount(one.threads, "thread")}, ${one.pid ? `process ${one.pid}` : "restarting"}`).join("; ") }).map(([name, version]) => `${name} ${version}`).join(" · ")}</p>
      `}
    <//>
  `;
}

function WorkerRow({ worker }) {
  return html`<tr>
    <th scope="row"><code>${worker.id}</code></th><td>${worker.host}</td><td class="number">${worker.slots}</td>
    <td>${worker.devices.map((device) => `${device.model || device.name}${device.threads ? ` · ${formatCount(device.threads, "thread")}` : ""}${device.memory_bytes ? ` · ${formatBytes(device.memory_bytes)}` : ""}`).join(", ")}</td>
    <td>${worker.jobs.length ? worker.jobs.map((id) => html`<${JobLink} key=${id} id=${id} /> `) : html`<span class="dim">idle</span>`}</td>
    <td>${worker.is_consuming ? "connected" : html`<strong class="bad">receives nothing</strong>`}</td>
    <td class="number dim">${formatAge(worker.beat_at)}</td><td class="number dim" title=${formatTime(worker.started_at)}>${formatAge(worker.started_at)}</td>
  </tr>`;
}

function JobLink({ id }) {
  return html`<a href=${href(`/jobs/${id}`)}>${useResource(`v1/jobs/${id}`).value?.name || id.slice(0, 8)}</a>`;
}

/** A queued job. Its position and its reason are fields of the job, but not of the list. */
function QueueRow({ id }) {
  const job = useResource(`v1/jobs/${id}`, { everyMs: 10000 }).value;
  if (!job) return null;
  return html`<tr>
    <td class="number">${job.queue_position ?? "–"}</td><th scope="row"><a href=${href(`/jobs/${id}`)}>${job.name}</a></th>
    <td class="wrap">${job.waits_for ? `the import of ${job.waits_for.name}@${job.waits_for.version}` : job.queue_reason || "a free slot"}</td><td class="number dim">${formatAge(job.created_at)}</td>
  </tr>`;
}

function Disk({ disk }) {
  const kinds = /** @type {[string, number][]} */ (Object.entries(disk.kinds)).filter(([, bytes]) => bytes > 0).sort((a, b) => b[1] - a[1]);
  return html`<h2>Disk <span class="dim">${formatBytes(disk.free_bytes)} free, measured ${formatAge(disk.computed_at)}</span></h2>
    <div class="card narrow"><${Bars} items=${kinds.map(([kind, bytes]) => ({ key: kind, label: kind, share: bytes / kinds[0][1], text: formatBytes(bytes) }))} /></div>`;
}
