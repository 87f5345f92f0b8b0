// The log of a job: the last lines, with a filter, following new ones.
import { html, useEffect, useMemo, useRef, useState } from "../../lib/preact.js";
import { ENDED } from "../../lib/jobs.js";
import { formatTime } from "../../lib/format.js";
import { useEvents } from "../../lib/events.js";
import { useThrottle } from "../../lib/throttle.js";
import { useResource } from "../../lib/resource.js";
import { EmptyState, Loaded } from "../../components/feedback.js";

/** @param {{job: any}} properties */
export function LogTab({ job }) {
  const log = useResource(`v1/jobs/${job.id}/logs?last=1000`, { everyMs: ENDED.has(job.state) ? 0 : 5000 });
  const refresh = useThrottle(log.refresh);
  useEvents(ENDED.has(job.state) ? [] : [job.id], (event) => {
    if (event.type === "log" || event.type === "state") refresh();
  });
  return html`<${Loaded} resource=${log}>${(value) => html`<${Lines} lines=${value.items} />`}<//>`;
}

/** @param {{lines: any[]}} properties */
function Lines({ lines }) {
  const [text, setText] = useState("");
  const [isFollowing, setFollowing] = useState(true);
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const shown = useMemo(() => lines.filter((line) => line.message.toLowerCase().includes(text.toLowerCase())), [lines, text]);
  useEffect(() => {
    if (isFollowing && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [shown, isFollowing]);
  if (!lines.length) return html`<${EmptyState} icon="jobs" title="No log yet"><p>Lines appear when a worker starts the job.</p><//>`;
  return html`
    <div class="toolbar">
      <label class="search"><input type="search" aria-label="Filter lines" placeholder="Filter  /" value=${text} onInput=${(event) => setText(event.target.value)} /></label>
      <label class="switch"><input type="checkbox" checked=${isFollowing} onChange=${() => setFollowing(!isFollowing)} /> Follow</label>
      <span class="dim">${shown.length} of ${lines.length} lines</span>
    </div>
    <div class="log" ref=${box} tabindex="0" role="log" aria-label="Log">
      ${shown.map((line) => html`<div key=${line.seq} class=${`log-line log-${line.level}`}><time class="dim" title=${formatTime(line.at)}>${new Date(line.at).toLocaleTimeString("en-GB")}</time> ${line.message}</div>`)}
    </div>
  `;
}
