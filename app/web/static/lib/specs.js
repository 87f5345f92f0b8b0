// Reads and writes specs as YAML. Pages import it only where they show YAML: js-yaml is larger than most of them.
import "../../vendor/js-yaml.js";

/** Remove fields that are null: they have no meaning in a request. @param {any} value @returns {any} */
export function removeEmpty(value) {
  if (Array.isArray(value)) return value.map(removeEmpty);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== null).map(([key, item]) => [key, removeEmpty(item)]));
}

/** The spec of a job, without its name. The milestones of a trial are those of its sweep. @param {any} job */
export function buildClone(job) {
  const { name: _, ...spec } = job.spec;
  const { milestones: _milestones, register: _register, ...rest } = spec;
  return removeEmpty(job.sweep ? rest : spec);
}

/** @param {unknown} spec */
export function specToYaml(spec) {
  return jsyaml.dump(spec, { flowLevel: 3, lineWidth: 100, noRefs: true });
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
