// Limits how often a function runs.
import { useCallback, useEffect, useRef } from "./preact.js";

const EVERY_MS = 400;

/** Call a function at most once per interval. The last call is never lost. @param {() => void} run */
export function useThrottle(run, everyMs = EVERY_MS) {
  const timer = useRef(0);
  const current = useRef(run);
  current.current = run;
  useEffect(() => () => clearTimeout(timer.current), []);
  return useCallback(() => {
    if (timer.current) return;
    timer.current = setTimeout(() => {
      timer.current = 0;
      current.current();
    }, everyMs);
  }, []);
}
