// Formats values for people. Everything that is not a value becomes an en dash.
const EMPTY = "–";
const UNITS = /** @type {[string, number][]} */ ([["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]);

const formatters = new Map();

/** Format a number with a fixed number of decimals. Formatters are kept, because creating one takes many times longer. */
function formatDecimals(value, decimals) {
  let formatter = formatters.get(decimals);
  if (!formatter) formatters.set(decimals, (formatter = new Intl.NumberFormat("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals })));
  return formatter.format(value);
}

/**
 * Format a number with at most `digits` significant digits after a leading zero, such as 0.9812, 12.4 or 3.1e-5.
 * The API sends values that are not finite as strings, which are returned unchanged.
 * @param {unknown} value
 * @param {number} [digits]
 */
export function formatNumber(value, digits = 4) {
  if (typeof value === "string") return value;
  if (typeof value !== "number") return EMPTY;
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return formatDecimals(value, 0);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(Math.max(digits - 2, 1)).replace("e+", "e");
  const decimals = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : digits;
  return formatDecimals(value, decimals);
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
  return formatDecimals(value, Math.max(decimals, 0));
}

/** @param {number | null | undefined} seconds such as 3725, which is `1 h 2 min` */
export function formatDuration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return EMPTY;
  if (seconds <= 0) return "0 s";
  if (seconds < 0.9995) return `${Math.max(Math.round(1000 * seconds), 1)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const first = UNITS.findIndex(([, size]) => Math.round(seconds) >= size);
  let rest = Math.round(seconds);
  const parts = UNITS.slice(first, first + 2).map(([unit, size]) => {
    const count = Math.floor(rest / size);
    rest %= size;
    return `${count} ${unit}`;
  });
  return parts.join(" ");
}

/** @param {string | null | undefined} time in ISO 8601 */
export function formatAge(time, now = Date.now()) {
  if (!time) return EMPTY;
  const seconds = Math.max((now - Date.parse(time)) / 1000, 0);
  const [unit, size] = UNITS.find((entry) => seconds >= entry[1]) || UNITS[3];
  return `${Math.floor(seconds / size)} ${unit} ago`;
}

/** @param {string} time in ISO 8601 */
export function formatDate(time) {
  return new Date(time).toLocaleDateString("en-GB", { dateStyle: "medium" });
}

/** @param {string | null | undefined} time in ISO 8601 */
export function formatTime(time) {
  return time ? new Date(time).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" }) : EMPTY;
}

/** @param {number | null | undefined} bytes */
export function formatBytes(bytes) {
  if (typeof bytes !== "number") return EMPTY;
  const power = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), 4);
  return `${(bytes / 1000 ** power).toFixed(power ? 1 : 0)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
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

const NAMES = /** @type {Record<string, string>} */ ({
  lr: "learning rate",
  images_per_s: "throughput (samples/s)",
  peak_memory_mib: "peak memory (MiB)",
  seconds: "time per epoch (s)",
  epoch_seconds: "time per epoch, in all (s)",
  data_wait: "waiting for data (%)",
  cpu_percent: "CPU (%)",
  gpu_percent: "GPU (%)",
});

/** @param {string} name such as `valid_accuracy` */
export function formatMetricName(name) {
  return NAMES[name] || name.replace(/_mib$/, " (MiB)").replace(/_/g, " ");
}

/** Format any JSON value of a spec or an environment. @param {unknown} value @returns {string} */
export function formatValue(value) {
  if (value === null || value === undefined) return EMPTY;
  if (typeof value === "number") return Number.isInteger(value) ? formatNumber(value) : String(value);
  if (typeof value !== "object") return String(value);
  const parts = Object.entries(value).filter(([, part]) => part !== null);
  return parts.map(([name, part]) => `${Array.isArray(value) ? "" : `${name.replace(/_/g, " ")} `}${formatValue(part)}`).join(", ") || EMPTY;
}

/** @param {string} pointer such as `/optimizer/lr`, which is `optimizer › lr` */
export function formatPointer(pointer) {
  return pointer.slice(1).replace(/\/name$/, "").replace(/\/(\d+)/g, " $1").replaceAll("/", " › ").replaceAll("_", " ");
}
