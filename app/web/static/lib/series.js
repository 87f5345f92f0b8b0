// Arithmetic on curves. A curve is an array with null where it has no value.

/** @typedef {(number | null)[]} Curve */

/**
 * Smooth a curve with an exponential moving average that is corrected for its start, as TensorBoard does.
 * @param {Curve} values
 * @param {number} weight from 0 (unchanged) to 1 (exclusive)
 * @returns {Curve}
 */
export function smooth(values, weight) {
  if (weight <= 0) return values;
  let average = 0;
  let norm = 0;
  return values.map((value) => {
    if (value === null || value === undefined || !Number.isFinite(value)) return null;
    average = average * weight + (1 - weight) * value;
    norm = norm * weight + (1 - weight);
    return average / norm;
  });
}

/**
 * Convert the numbers of a response: values that are not finite are strings, which a chart cannot draw.
 * @param {(number | string | null)[]} values
 * @returns {Curve}
 */
export function toCurve(values) {
  return values.map((value) => (typeof value === "number" ? value : null));
}

/** @param {Curve} values */
export function findLast(values) {
  for (let index = values.length - 1; index >= 0; index -= 1) if (values[index] !== null) return values[index];
  return null;
}

/**
 * Remove the values that a logarithmic axis cannot show.
 * @param {Curve} values
 * @returns {Curve}
 */
export function keepPositive(values) {
  return values.map((value) => (value !== null && value > 0 ? value : null));
}

/** Metrics for which lower values are better. @param {string} name such as `valid_loss` */
export function isLowerBetter(name) {
  return /(loss|error|mae|mse|rmse|perplexity|ece|brier)/.test(name);
}
