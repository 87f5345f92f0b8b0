// The lineage of a job or a model version as a tree of links: below each thing is what it was made of.
import { html, useState } from "../lib/preact.js";
import { request } from "../lib/api.js";
import { formatCount, formatMetricName, formatNumber, formatTime, formatValue } from "../lib/format.js";
import { href, navigate } from "../lib/router.js";
import { StateBadge } from "./controls.js";
import { attempt } from "./feedback.js";
import { Icon } from "./icon.js";

/**
 * @typedef {{id: string, kind: string, is_deleted: boolean, [field: string]: any}} LineageNode
 * @typedef {{nodes: LineageNode[], edges: {source: string, target: string, role: string}[], is_complete: boolean}} Lineage
 */

const MAX_METRICS = 2;
const ICONS = /** @type {Record<string, any>} */ ({ model: "models", job: "jobs", dataset: "datasets", checkpoint: "flag", weights: "download" });
/** What a source is to the thing above it. */
const ROLES = /** @type {Record<string, string>} */ ({
  registered: "registered by",
  dataset: "uses",
  initial_weights: "starts from",
  resumed_from: "resumed from",
  model: "of the model",
  wrote: "written by",
  cloned: "cloned from",
  edited: "edited from",
  reproduced: "repeats",
});

/**
 * The subject and its ancestors. The children are list items of what was made from the subject.
 * @param {{lineage: Lineage, children?: import("../lib/preact.js").Children}} properties
 */
export function LineageTree({ lineage, children = null }) {
  const [subject] = lineage.nodes;
  return html`
    <div class="ancestry">
      <p class="row-node"><${Node} node=${subject} isSubject=${true} /></p>
      ${renderSources(lineage, subject.id, new Set([subject.id]))}
    </div>
    ${!lineage.is_complete && html`<p class="dim">There are more ancestors.</p>`}
    ${children && html`<h3>Made from it</h3><ul class="plain">${children}</ul>`}
  `;
}

/** @param {Lineage} lineage @param {string} target @param {Set<string>} shown the nodes that are in the tree already */
function renderSources(lineage, target, shown) {
  const edges = lineage.edges.filter((edge) => edge.target === target);
  if (!edges.length) return null;
  const first = edges.map((edge) => !shown.has(edge.source) && Boolean(shown.add(edge.source)));
  return html`<ul>
    ${edges.map((edge, index) => {
      const node = /** @type {LineageNode} */ (lineage.nodes.find((one) => one.id === edge.source));
      return html`<li key=${`${edge.role} ${edge.source}`}>
        <p class="row-node"><span class="dim">${ROLES[edge.role] || edge.role}</span> <${Node} node=${node} />${!first[index] && html` <span class="dim">(see above)</span>`}</p>
        ${first[index] && renderSources(lineage, node.id, shown)}
      </li>`;
    })}
  </ul>`;
}

/** A node with its link, and what identifies it. @param {{node: LineageNode, isSubject?: boolean}} properties */
function Node({ node, isSubject = false }) {
  const [text, address, details] = describe(node);
  return html`<span class="node"><${Icon} name=${ICONS[node.kind] || "docs"} /> ${isSubject || node.is_deleted || !address ? html`<${isSubject ? "strong" : "span"}>${text}<//>` : html`<a href=${address}>${text}</a>`}${node.is_deleted && html` <span class="tag">deleted</span>`}</span> ${details}`;
}

/** @param {LineageNode} node @returns {[string, string | null, any]} the text, the address and the details */
function describe(node) {
  const code = (label, hash) => hash && html`<span class="dim">${label} <code title=${hash}>${hash.slice(0, 12)}</code></span>`;
  if (node.kind === "model") {
    const metrics = Object.entries(node.metrics || {}).filter(([name]) => !name.startsWith("train_")).slice(0, MAX_METRICS);
    return [`${node.name}@${node.version}`, href(`/models/${node.name}`, { version: node.version }), html`${code("sha256", node.sha256)} <span class="dim">${metrics.map(([name, value]) => `${formatMetricName(name)} ${formatNumber(value)}`).join(", ")}</span>`];
  }
  if (node.kind === "job") {
    const attempts = node.attempts.map((one) => `${formatTime(one.started_at)}: ${(one.reason || "running").replace(/_/g, " ")}`).join("\n");
    const details = node.state && html`<${StateBadge} state=${node.state} /> <span class="dim" title=${attempts}>${formatCount(node.attempts.length, "attempt")}${node.attempts.length > 1 ? `: ${node.attempts.map((one) => (one.reason || "running").replace(/_/g, " ")).join(", ")}` : ""}</span>`;
    return [`job ${node.name || node.job_id.slice(0, 8)}`, href(`/jobs/${node.job_id}`), details];
  }
  if (node.kind === "dataset") {
    const edits = node.operations.length ? html` <span class="dim">${formatCount(node.operations.length, "edit")}</span>` : null;
    return [`${node.name}@${node.version}`, href(`/datasets/${node.name}`, { version: node.version }), html`${code("content", node.content_hash)}${edits}`];
  }
  if (node.kind === "checkpoint") return [`checkpoint ${node.number}${node.epoch === null ? "" : ` of epoch ${node.epoch}`}`, href(`/jobs/${node.job_id}`, { tab: "checkpoints" }), null];
  return [`weights ${node.source}`, null, null];
}

/** Names and values of an environment. @param {{values: Record<string, any>, label?: string}} properties */
export function EnvironmentTable({ values, label = "Environment" }) {
  const rows = Object.entries(values).filter(([, value]) => value !== null);
  return html`<table class="dense environment" aria-label=${label}><tbody>${rows.map(([name, value]) => html`<tr key=${name}><th scope="row" class="dim">${name.replace(/_/g, " ")}</th><td class="wrap">${name.endsWith("_pid") ? String(value) : formatValue(value)}</td></tr>`)}</tbody></table>`;
}

/** A button that repeats the training of a job or a model version, and leads to the new job. @param {{path: string}} properties */
export function ReproduceButton({ path }) {
  const [isSent, setSent] = useState(false);
  const start = async () => {
    setSent(true);
    await attempt(async () => navigate(href(`/jobs/${(await request(`${path}/reproduce`, { method: "POST", json: {} })).id}`)));
    setSent(false);
  };
  return html`<button type="button" disabled=${isSent} title="Train again in the same way, and compare the weights" onClick=${start}><${Icon} name="repeat" /> Reproduce</button>`;
}
