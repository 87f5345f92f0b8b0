// A sweep and its trials, kept fresh, and figures that are computed from them.
import { useEffect, useRef, useState } from "./preact.js";
import { Problem, request } from "./api.js";
import { useEvents } from "./events.js";
import { useResource, useThrottle } from "./resource.js";
import { ENDED } from "./sweeps.js";

const REFRESH_MS = 2000;
const PAGE_SIZE = 200;
const MAX_PAGES = 10;

/** @typedef {{epochs: number, score: number, trial: number}} SpentScore */

/**
 * All scores of a sweep in the order in which they were reached, each with the epochs that all trials had spent by then.
 * @param {any[]} trials
 * @param {number} repeats the number of jobs of each trial
 * @returns {SpentScore[]}
 */
export function listScores(trials, repeats) {
  const reached = trials.flatMap((trial) =>
    trial.scores.map((one, index) => ({ trial: trial.number, score: one.score, at: Date.parse(one.reached_at) || 0, length: one.epochs - (index ? trial.scores[index - 1].epochs : trial.parent?.epochs || 0) })),
  );
  let spent = 0;
  return reached.sort((a, b) => a.at - b.at || a.trial - b.trial).map(({ trial, score, length }) => ({ trial, score, epochs: (spent += length * repeats) }));
}

/**
 * The best score so far at each of the scores; null before the first finite one.
 * @param {SpentScore[]} scores
 * @param {string} direction `min` or `max`
 */
export function computeBestSoFar(scores, direction) {
  const choose = direction === "min" ? Math.min : Math.max;
  let best = /** @type {number | null} */ (null);
  return scores.map(({ score }) => (best = typeof score !== "number" ? best : best === null ? score : choose(best, score)));
}

/**
 * The milestones of the trials, and how many trials are in which state there.
 * @param {any[]} trials
 * @param {string} direction `min` or `max`
 */
export function buildLadder(trials, direction) {
  const milestones = [...new Set(trials.filter((trial) => trial.state !== "refused").flatMap((trial) => [trial.epochs, ...trial.scores.map((one) => one.epochs)]))].sort((a, b) => a - b);
  return milestones.map((epochs) => {
    const count = (test) => trials.filter(test).length;
    const hasReached = (trial) => trial.scores.some((one) => one.epochs === epochs);
    const isHere = (trial, state) => trial.epochs === epochs && trial.state === state;
    const scores = trials.flatMap((trial) => trial.scores.filter((one) => one.epochs === epochs && typeof one.score === "number").map((one) => one.score));
    return {
      epochs,
      reached: count(hasReached),
      promoted: count((trial) => trial.epochs > epochs && hasReached(trial)),
      succeeded: count((trial) => isHere(trial, "succeeded")),
      waiting: count((trial) => isHere(trial, "paused")),
      running: count((trial) => isHere(trial, "running") || isHere(trial, "interrupted")),
      stopped: count((trial) => isHere(trial, "stopped")),
      failed: count((trial) => isHere(trial, "failed")),
      best: scores.length ? (direction === "min" ? Math.min(...scores) : Math.max(...scores)) : null,
    };
  });
}

/** Load a sweep, and load it again when it changes. @param {string} id */
export function useSweep(id) {
  const sweep = useResource(`v1/sweeps/${id}`, { everyMs: 10000 });
  const refresh = useThrottle(sweep.refresh);
  const isActive = sweep.value !== undefined && !ENDED.has(sweep.value.state);
  useEvents(isActive ? ["sweeps"] : [], (event) => {
    if (event.sweep === id) refresh();
  });
  return sweep;
}

/**
 * All trials of a sweep by number, up to 2,000. They are loaded again when its revision has changed.
 * @param {any} sweep null loads nothing
 */
export function useTrials(sweep) {
  const [state, setState] = useState(/** @type {{value: any[] | undefined, isComplete: boolean, problem: Problem | null}} */ ({ value: undefined, isComplete: true, problem: null }));
  const lastRequest = useRef(0);
  const refresh = async () => {
    if (!sweep) return;
    lastRequest.current += 1;
    const own = lastRequest.current;
    const setLatest = (change) => own === lastRequest.current && setState(change); // a response that a later request has overtaken is older
    try {
      const { trials, isComplete } = await loadTrials(sweep.id);
      setLatest({ value: trials, isComplete, problem: null });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setLatest((previous) => ({ ...previous, problem: error }));
    }
  };
  const refreshLater = useThrottle(refresh, REFRESH_MS);
  useEffect(() => {
    if (state.value === undefined) refresh();
    else refreshLater();
  }, [sweep?.revision]);
  return { ...state, isLoading: state.value === undefined, refresh, replace: () => {} };
}

/** @param {string} id @returns {Promise<{trials: any[], isComplete: boolean}>} */
async function loadTrials(id) {
  const trials = [];
  let cursor = "";
  for (let number = 0; number < MAX_PAGES; number += 1) {
    const page = await request(`v1/sweeps/${id}/trials?limit=${PAGE_SIZE}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
    trials.push(...page.items);
    if (page.next_cursor === null) return { trials, isComplete: true };
    cursor = page.next_cursor;
  }
  return { trials, isComplete: false };
}
