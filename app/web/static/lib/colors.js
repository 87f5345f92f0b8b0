// Colors and dash patterns of runs: Okabe and Ito's palette, which people with color blindness can tell apart.
export const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07d00", "#56b4e9", "#7b3294", "#7f7f7f"];
const DASHES = [[], [7, 3], [2, 3], [10, 3, 2, 3]];

/**
 * The stroke of a run: the eight colors repeat with another dash pattern.
 * @param {number} index the position of the run in the comparison
 * @returns {{color: string, dash: number[]}}
 */
export function getStroke(index) {
  return { color: COLORS[index % COLORS.length], dash: DASHES[Math.floor(index / COLORS.length) % DASHES.length] };
}

/** @param {string} name a custom property of the style sheet, such as `--text` */
export function readToken(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
