// Loads responses of the API and keeps them fresh, but not too often.
import { useCallback, useEffect, useRef, useState } from "./preact.js";
import { Problem, request } from "./api.js";

/** The last response of each path: a view that opens again shows it while the new response loads. @type {Map<string, any>} */
const responses = new Map();
const MAX_RESPONSES = 200;

/**
 * @template T
 * @typedef {{value: T | undefined, problem: Problem | null, isLoading: boolean, refresh: () => Promise<void>, replace: (value: any) => void}} Resource
 */

/**
 * Load a path of the API. Repeat it every `everyMs`, but not while the page is hidden.
 * @param {string | null} path null loads nothing
 * @param {{everyMs?: number}} [options]
 * @returns {Resource<any>}
 */
export function useResource(path, { everyMs = 0 } = {}) {
  const [, redraw] = useState({});
  const state = useRef(/** @type {{path: string | null, problem: Problem | null, isLoading: boolean}} */ ({ path: null, problem: null, isLoading: false }));
  if (state.current.path !== path) state.current = { path, problem: null, isLoading: path !== null };
  const current = state.current;

  const refresh = useCallback(async () => {
    if (path === null) return;
    const own = state.current;
    try {
      remember(path, await load(path));
      own.problem = null;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      own.problem = error;
    }
    own.isLoading = false;
    if (own === state.current) redraw({});
  }, [path]);

  useEffect(() => {
    if (path === null) return undefined;
    refresh();
    if (!everyMs) return undefined;
    let isRunning = false;
    const tick = async () => {
      if (document.hidden || isRunning) return;
      isRunning = true;
      try {
        await refresh();
      } finally {
        isRunning = false;
      }
    };
    const timer = setInterval(tick, everyMs);
    document.addEventListener("visibilitychange", tick);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", tick);
    };
  }, [path, everyMs, refresh]);

  const replace = useCallback((value) => {
    if (path !== null) remember(path, typeof value === "function" ? value(responses.get(path)) : value);
    redraw({});
  }, [path]);
  return { value: path === null ? undefined : responses.get(path), problem: current.problem, isLoading: current.isLoading, refresh, replace };
}

/** Requests that have no response yet, and those that follow them. @type {Map<string, {running: Promise<any>, next: Promise<any> | null}>} */
const requests = new Map();

/**
 * Request a path. At most one request for a path is on its way: calls meanwhile share the next one, which starts when
 * the first has ended, so that its response is not older than the call.
 * @param {string} path
 * @returns {Promise<any>}
 */
function load(path) {
  const pending = requests.get(path);
  if (!pending) {
    const running = request(path).finally(() => {
      if (requests.get(path)?.running === running) requests.delete(path);
    });
    requests.set(path, { running, next: null });
    return running;
  }
  pending.next ||= pending.running.then(() => load(path), () => load(path));
  return pending.next;
}

/** @param {string} path @param {any} value */
function remember(path, value) {
  responses.delete(path);
  responses.set(path, value);
  if (responses.size > MAX_RESPONSES) responses.delete(/** @type {string} */ (responses.keys().next().value));
}

/** Forget all responses, for example after signing out. */
export function forgetResponses() {
  responses.clear();
}

const EVERY_MS = 400;
const TOGETHER_MS = 20; // events of one moment cause one call

/**
 * Call a function at once, but at most once per interval, which begins when the last call has ended: a slow server gets
 * fewer requests. The last call is never lost.
 * @param {() => unknown} run may return a promise
 */
export function useThrottle(run, everyMs = EVERY_MS) {
  const state = useRef({ timer: 0, readyAt: 0, isRunning: false, isWanted: false, isEnded: false });
  const current = useRef(run);
  current.current = run;
  useEffect(
    () => () => {
      state.current.isEnded = true;
      clearTimeout(state.current.timer);
    },
    [],
  );
  return useCallback(function start() {
    const own = state.current;
    if (own.isEnded || own.timer) return;
    if (own.isRunning) {
      own.isWanted = true;
      return;
    }
    own.timer = setTimeout(async () => {
      own.timer = 0;
      own.isRunning = true;
      try {
        await current.current();
      } finally {
        own.isRunning = false;
        own.readyAt = performance.now() + everyMs;
        const isWanted = own.isWanted;
        own.isWanted = false;
        if (isWanted) start();
      }
    }, Math.max(own.readyAt - performance.now(), TOGETHER_MS));
  }, []);
}
