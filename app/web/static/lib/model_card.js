// A model card in Markdown: what the model is, what it was trained on, and how good it is.
import { formatDate, formatNumber } from "./format.js";

/** @param {any} version */
export function buildCard(version) {
  const metrics = Object.entries(version.metrics);
  return [
    `# ${version.name}, version ${version.version}`,
    "",
    `A ${version.task} model with ${formatNumber(version.num_parameters)} parameters, registered on ${formatDate(version.created_at)}.`,
    "",
    "## Model",
    "",
    `- Architecture: ${version.architecture.name}`,
    `- Input: ${version.input.table ? "columns" : "image"} ${version.input.image_shape.join(" × ")}, resized with \`${version.input.resize}\``,
    ...(version.classes.length ? [`- Classes: ${version.classes.join(", ")}`] : []),
    `- Weights: sha256 ${version.sha256}`,
    "",
    "## Training",
    "",
    ...(version.dataset ? [`- Dataset: ${version.dataset.name}, version ${version.dataset.version} (content ${version.dataset.content_hash})`] : []),
    `- Job: ${version.job_id}`,
    ...(version.spec.epochs ? [`- Epochs: ${version.spec.epochs}, batch size ${version.spec.batch_size}, seed ${version.spec.seed}`] : []),
    "",
    "## Metrics",
    "",
    "| metric | value |",
    "|---|--:|",
    ...metrics.map(([name, value]) => `| ${name.replace(/_/g, " ")} | ${formatNumber(value)} |`),
    "",
  ].join("\n");
}
