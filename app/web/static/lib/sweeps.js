// What the pages know about sweeps: their states and actions, the example, and how parameters and budgets are written.
import { request } from "./api.js";
import { formatCount, formatNumber, formatPointer, formatValue } from "./format.js";

export const STATES = ["running", "paused", "finishing", "succeeded", "failed", "cancelled"];
export const TRIAL_STATES = ["running", "paused", "interrupted", "succeeded", "stopped", "failed", "refused"];
export const ENDED = new Set(["succeeded", "failed", "cancelled"]);

/** The sweep of the empty list and of an empty form: the first example of the OpenAPI document. @param {any} api */
export function getExample(api) {
  const [example] = Object.values(api.paths["/v1/sweeps"].post.requestBody.content["application/json"].examples);
  return example.value;
}

/** The actions that each state allows: [name, icon, text]. */
const ACTIONS = /** @type {Record<string, [string, string, string][]>} */ ({
  running: [["pause", "pause", "Pause"], ["finish", "flag", "Finish early"], ["cancel", "stop", "Cancel"]],
  paused: [["resume", "play", "Resume"], ["finish", "flag", "Finish early"], ["cancel", "stop", "Cancel"]],
  finishing: [["cancel", "stop", "Cancel"]],
  succeeded: [],
  failed: [],
  cancelled: [],
});

/** @param {any} sweep */
export function listSweepActions(sweep) {
  return ACTIONS[sweep.state] || [];
}

/** Whether the budget of a sweep can be extended. @param {any} sweep */
export function canExtend(sweep) {
  return sweep.state !== "cancelled" && sweep.state !== "finishing";
}

/** @param {string} id @param {string} action @param {any} [json] @returns {Promise<any>} */
export function runSweepAction(id, action, json) {
  return request(`v1/sweeps/${id}/${action}`, { method: "POST", json });
}

/** The names of the parameters: the last part of the pointer if no other one has it. @param {string[]} pointers @returns {Map<string, string>} */
export function nameParameters(pointers) {
  const last = (pointer) => formatPointer(pointer).split(" › ").pop() || pointer;
  const all = pointers.map(last);
  return new Map(pointers.map((pointer, index) => [pointer, all.filter((name) => name === all[index]).length > 1 ? formatPointer(pointer) : all[index]]));
}

/** Format the value of a parameter. An object with a name is called by it. @param {any} value @returns {string} */
export function formatParameter(value) {
  if (typeof value === "number") return formatNumber(value);
  if (value === null || typeof value !== "object" || Array.isArray(value) || !value.name) return formatValue(value);
  const { name, ...rest } = value;
  return Object.keys(rest).length ? `${name}, ${formatValue(rest)}` : String(name);
}

/** The parts of a budget that have a limit: [name, used, limit]. @param {any} budget @returns {[string, number, number][]} */
function listLimits(budget) {
  return ["trials", "epochs", "hours"].filter((name) => budget[name].limit !== null).map((name) => [name, budget[name].used, budget[name].limit]);
}

/** How much of the budget is used: that of the limit that is reached first. @param {any} budget @returns {{share: number, text: string}} */
export function describeBudget(budget, isShort = false) {
  const of = isShort ? "/" : " of ";
  const limits = listLimits(budget);
  const share = Math.max(...limits.map(([, used, limit]) => used / limit), 0);
  const format = (value) => formatNumber(Number(value.toPrecision(2)), 1);
  const parts = limits.map(([name, used, limit]) => (name === "hours" ? `${format(used)}${of}${format(limit)} h` : `${formatNumber(used)}${of}${formatCount(limit, name.slice(0, -1))}`));
  return { share: Math.min(share, 1), text: parts.join(" · ") };
}
