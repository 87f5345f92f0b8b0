// Choices that hold for all views, such as columns and saved views, stay in this browser; never keys.
import { useCallback, useState } from "./preact.js";

/**
 * @template T
 * @param {string} name
 * @param {T} initial
 * @returns {[T, (value: T) => void]}
 */
export function usePreference(name, initial) {
  const key = `candela.${name}`;
  const [value, setValue] = useState(() => read(key, initial));
  const store = useCallback((next) => {
    localStorage.setItem(key, JSON.stringify(next));
    setValue(next);
  }, [key]);
  return [value, store];
}

/**
 * @template T
 * @param {string} key
 * @param {T} initial
 * @returns {T}
 */
function read(key, initial) {
  try {
    const text = localStorage.getItem(key);
    return text === null ? initial : JSON.parse(text);
  } catch {
    return initial;
  }
}
