// The workers, the queue and the versions of the service.
import { html, useEffect } from "../lib/preact.js";
import { formatAge, formatBytes, formatCount, formatTime } from "../lib/format.js";
import { useResource } from "../lib/resource.js";
import { href } from "../lib/router.js";
import { Facts } from "../components/controls.js";
import { EmptyState, Loaded } from "../components/feedback.js";

export default function SystemPage() {
  const system = useResource("v1/system", { everyMs: 5000 });
  useEffect(() => {
    document.title = "System · Candela";
  }, []);
  return html`
    <header class="page-head"><h1>System</h1></header>
    <${Loaded} resource=${system}>
      ${(value) => html`
        <div class="columns">
          <section class="card"><h2>Jobs</h2><${Facts} items=${Object.entries(value.jobs).map(([state, count]) => [state, html`<a href=${href("/jobs", { state })}>${count}</a>`])} /></section>
          <section class="card"><h2>Versions</h2><${Facts} items=${Object.entries(value.versions)} /></section>
          <section class="card"><h2>Inference</h2>${value.inference.map((one) => html`<${Facts} key=${one.device} items=${[["Device", one.device_name || one.device], ["Process", one.pid ?? "restarting"], ["Threads per model", one.threads], ["torch", one.torch]]} />`)}</section>
          ${value.disk && html`<section class="card"><h2>Disk</h2><${Facts} items=${[...Object.entries(value.disk.kinds).map(([kind, size]) => /** @type {[string, any]} */ ([kind, formatBytes(size)])), ["free", formatBytes(value.disk.free_bytes)], ["measured", formatAge(value.disk.computed_at)]]} /></section>`}
        </div>
        <h2>Workers</h2>
        ${value.workers.length === 0
          ? html`<${EmptyState} icon="system" title="No worker"><p>Jobs wait until a worker starts: <code>celery -A worker.main worker</code>, or <code>candela up</code> on one machine.</p><//>`
          : html`<div class="table-box" tabindex="0" role="region" aria-label="Table"><table>
              <thead><tr><th scope="col">Worker</th><th scope="col">Host</th><th scope="col" class="number">Slots</th><th scope="col">Devices</th><th scope="col">Jobs</th><th scope="col">Queue</th><th scope="col">Heartbeat</th><th scope="col">Started</th></tr></thead>
              <tbody>${value.workers.map((one) => html`<${WorkerRow} key=${one.id} worker=${one} />`)}</tbody>
            </table></div>`}
        <p class="dim">${formatCount(value.queue_depth, "queued job")}</p>
      `}
    <//>
  `;
}

/** @param {{worker: any}} properties */
function WorkerRow({ worker }) {
  return html`<tr>
    <th scope="row"><code>${worker.id}</code></th><td>${worker.host}</td><td class="number">${worker.slots}</td>
    <td>${worker.devices.map((device) => html`<span class="metric" key=${device.name}>${device.model || device.name}${device.threads ? ` · ${device.threads} threads` : ""}${device.memory_bytes ? ` · ${formatBytes(device.memory_bytes)}` : ""}</span>`)}</td>
    <td>${worker.jobs.length ? worker.jobs.map((id) => html`<a key=${id} href=${href(`/jobs/${id}`)}>${id.slice(0, 8)}</a> `) : html`<span class="dim">idle</span>`}</td>
    <td>${worker.is_consuming ? "connected" : html`<strong class="bad">receives nothing</strong>`}</td>
    <td class="dim">${formatAge(worker.beat_at)}</td><td class="dim" title=${formatTime(worker.started_at)}>${formatAge(worker.started_at)}</td>
  </tr>`;
}
