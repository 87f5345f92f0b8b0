// Formats values for people. Everything that is not a value becomes an en dash.
const EMPTY = "–";
const UNITS = /** @type {[Intl.RelativeTimeFormatUnit, number][]} */ ([
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
]);
const relative = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "narrow" });

/**
 * Format a number with at most `digits` significant digits after a leading zero, such as 0.9812, 12.4 or 3.1e-5.
 * The API sends values that are not finite as strings, which are returned unchanged.
 * @param {unknown} value
 * @param {number} [digits]
 */
export function formatNumber(value, digits = 4) {
  if (typeof value === "string") return value;
  if (typeof value !== "number") return EMPTY;
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return value.toLocaleString("en");
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(Math.max(digits - 2, 1)).replace("e+", "e");
  return value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : digits);
}

/**
 * Format the tick of an axis: all ticks of an axis have the same decimals, which their distance requires.
 * @param {number} value
 * @param {number} increment the distance of two ticks
 */
export function formatTick(value, increment) {
  const power = Math.floor(Math.log10(increment) + 1e-9);
  const isWhole = Math.abs(increment / 10 ** power - Math.round(increment / 10 ** power)) < 1e-6; // 2.5 needs one more
  const decimals = (isWhole ? 0 : 1) - power;
  if (value !== 0 && (Math.abs(value) >= 1e6 || power < -4)) {
    return value.toExponential(Math.min(Math.max(Math.floor(Math.log10(Math.abs(value)) + 1e-9) + decimals, 0), 4)).replace("e+", "e");
  }
  return value.toLocaleString("en", { minimumFractionDigits: Math.max(decimals, 0), maximumFractionDigits: Math.max(decimals, 0) });
}

/** @param {number | null | undefined} seconds such as 3725, which is `1h 2m` */
export function formatDuration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return EMPTY;
  const whole = Math.max(Math.round(seconds), 0);
  if (seconds > 0 && seconds < 0.9995) return `${Math.max(Math.round(1000 * seconds), 1)} ms`;
  if (seconds < 9.95) return `${Math.max(seconds, 0).toFixed(1)}s`;
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${whole % 60}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h ${Math.floor((whole % 3600) / 60)}m`;
  return `${Math.floor(whole / 86400)}d ${Math.floor((whole % 86400) / 3600)}h`;
}

/** @param {string | null | undefined} time in ISO 8601 */
export function formatAge(time, now = Date.now()) {
  if (!time) return EMPTY;
  const seconds = (now - Date.parse(time)) / 1000;
  const [unit, size] = UNITS.find((entry) => seconds >= entry[1]) || UNITS[UNITS.length - 1];
  return relative.format(-Math.max(Math.floor(seconds / size), 0), unit);
}

/** @param {string | null | undefined} time in ISO 8601 */
export function formatTime(time) {
  return time ? new Date(time).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" }) : EMPTY;
}

/** @param {number | null | undefined} bytes */
export function formatBytes(bytes) {
  if (typeof bytes !== "number") return EMPTY;
  const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), 4);
  return `${(bytes / 1024 ** power).toFixed(power ? 1 : 0)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

/** @param {number | null | undefined} share from 0 to 1 */
export function formatPercent(share, digits = 1) {
  if (typeof share !== "number") return EMPTY;
  const least = 10 ** -digits;
  return share > 0 && 100 * share < least ? `< ${least} %` : `${(100 * share).toFixed(digits)} %`;
}

/** @param {number} count @param {string} noun @param {string} [plural] */
export function formatCount(count, noun, plural = `${noun}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? noun : plural}`;
}

const NAMES = /** @type {Record<string, string>} */ ({ lr: "learning rate", images_per_s: "throughput, images/s", peak_memory_mib: "peak memory, MiB", epoch_seconds: "epoch with validation, seconds", data_wait: "waiting for data, share" });

/** @param {string} name such as `valid_accuracy` */
export function formatMetricName(name) {
  return NAMES[name] || name.replace(/_/g, " ");
}

/** @param {string} pointer such as `/optimizer/lr`, which is `optimizer › lr` */
export function formatPointer(pointer) {
  return pointer.slice(1).replace(/\/name$/, "").replace(/\/(\d+)/g, " $1").replaceAll("/", " › ").replaceAll("_", " ");
}
