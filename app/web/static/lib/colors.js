// Colors and dash patterns of runs: Okabe and Ito's palette, which people with color blindness can tell apart. Each color
// has a contrast of at least 3:1 to the background of both themes.
export const COLORS = ["#1a7fbf", "#d55e00", "#00906a", "#c0649a", "#a07200", "#3f8fd0", "#9a58b5", "#7f7f7f"];
const DASHES = [[], [7, 3], [2, 3], [10, 3, 2, 3]];

/**
 * The stroke of a run: neighbors differ in both, and the eight colors repeat with other dash patterns.
 * @param {number} index the position of the run in the comparison
 * @returns {{color: string, dash: number[]}}
 */
export function getStroke(index) {
  return { color: COLORS[index % COLORS.length], dash: DASHES[(index + Math.floor(index / COLORS.length)) % DASHES.length] };
}

/** @param {string} name a custom property of the style sheet, such as `--text` */
export function readToken(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
