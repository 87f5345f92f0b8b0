// The log of a job: the last lines, with a filter, following new ones.
import { html, useEffect, useMemo, useRef, useState } from "../../lib/preact.js";
import { ENDED } from "../../lib/jobs.js";
import { formatTime } from "../../lib/format.js";
import { useEvents } from "../../lib/events.js";
import { useThrottle } from "../../lib/throttle.js";
import { useResource } from "../../lib/resource.js";
import { SearchField } from "../../components/controls.js";
import { Loaded } from "../../components/feedback.js";

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
