// What the pages know about jobs: their actions, names and the demo.
import { request } from "./api.js";

export const STATES = ["queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"];
export const KINDS = ["train", "lr_find", "evaluate", "predict", "variant", "reproduce"];
export const ENDED = new Set(["succeeded", "failed", "cancelled"]);
export const ACTIVE = new Set(["queued", "running", "pausing", "cancelling"]);

/** The actions that each state allows: [name, icon, text]. */
const ACTIONS = /** @type {Record<string, [string, string, string][]>} */ ({
  queued: [["pause", "pause", "Pause"], ["cancel", "stop", "Cancel"]],
  running: [["pause", "pause", "Pause"], ["finish", "flag", "Finish early"], ["cancel", "stop", "Cancel"]],
  pausing: [["cancel", "stop", "Cancel"]],
  paused: [["resume", "play", "Resume"], ["cancel", "stop", "Cancel"]],
});

/** @param {any} job */
export function listActions(job) {
  if (job.kind === "train" && job.state === "succeeded" && job.spec?.register === false && !job.model) return [["register", "check", "Register"]];
  const actions = ACTIONS[job.state] || [];
  if (job.kind === "train") return actions;
  return actions.filter(([name]) => name === "cancel" || (job.kind === "reproduce" && name !== "finish"));
}

/** @param {string} id @param {string} action */
export function runAction(id, action) {
  return request(`v1/jobs/${id}/${action}`, { method: "POST" });
}

/** The seconds that a job has run. @param {any} job */
export function getDuration(job, now = Date.now()) {
  if (!job.started_at) return null;
  return ((job.finished_at ? Date.parse(job.finished_at) : now) - Date.parse(job.started_at)) / 1000;
}

/** The names of all metrics of some jobs: validation first. @param {any[]} jobs */
export function listMetricNames(jobs) {
  const order = ["valid", "test", "train"];
  const names = new Set(jobs.flatMap((job) => [...Object.keys(job.metrics || {}), ...Object.keys(job.metrics_best?.metrics || {})]));
  const rank = (name) => order.indexOf(name.split("_")[0]);
  return [...names].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
}

/** The job of the demo: scanned digits, half a minute on two cores. */
export const DEMO = {
  name: "digits-demo",
  model: "digits-demo",
  dataset: { name: "digits", valid: 0.15, train_transforms: [{ name: "affine", degrees: 10, translate: 0.1 }] },
  architecture: { name: "convnet", channels: [32, 64], batch_norm: true, head: [128] },
  optimizer: { name: "adamw", lr: 0.003 },
  schedule: { name: "one_cycle", max_lr: 0.01 },
  metrics: ["accuracy"],
  epochs: 15,
  batch_size: 64,
  callbacks: [
    { name: "ema", decay: 0.95 },
    { name: "keep_best", monitor: "valid_loss" },
    { name: "confusion_matrix" },
    { name: "worst_samples" },
  ],
};
