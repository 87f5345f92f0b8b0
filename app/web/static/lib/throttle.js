// Limits how often a function runs.
import { useCallback, useEffect, useRef } from "./preact.js";

const EVERY_MS = 400;

/**
 * Call a function at most once per interval, which begins when the last call has ended: a slow server gets fewer
 * requests. The last call is never lost.
 * @param {() => unknown} run may return a promise
 */
export function useThrottle(run, everyMs = EVERY_MS) {
  const state = useRef({ timer: 0, isRunning: false, isWanted: false, isEnded: false });
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
        const isWanted = own.isWanted;
        own.isWanted = false;
        if (isWanted) start();
      }
    }, everyMs);
  }, []);
}
