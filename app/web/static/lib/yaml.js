// js-yaml. Its file sets a global variable; only pages that need it load it.
import "../../vendor/js-yaml.js";

/** @param {unknown} value */
export function toYaml(value) {
  return jsyaml.dump(value, { flowLevel: 3, lineWidth: 100, noRefs: true });
}

/**
 * Read YAML.
 * @param {string} text
 * @returns {any}
 * @throws {Error} the text is not YAML; the message names the line
 */
export function parseYaml(text) {
  return jsyaml.load(text);
}
