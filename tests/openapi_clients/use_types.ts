// Uses the types that openapi-typescript generates. It is compiled only: a wrong type is an error of the compiler.
import type { components, operations } from "./schema";

type JobSpec = components["schemas"]["JobSpec"];
type Optimizer = NonNullable<JobSpec["optimizer"]>;
type Problem = operations["show_job"]["responses"]["404"]["content"]["application/problem+json"];

export const spec: JobSpec = {
  kind: "train",
  dataset: { name: "digits" },
  architecture: { name: "mlp" },
  optimizer: { name: "adamw", lr: 0.003 },
};

export function getLearningRate(optimizer: Optimizer): number | null {
  switch (optimizer.name) {
    case "sgd":
    case "adam":
      return optimizer.lr ?? null;
    default:
      return null;
  }
}

export function getPointers(problem: Problem): string[] {
  return problem.errors.map((error) => error.pointer);
}

export const body: components["schemas"]["PredictIn"] = { rows: [{ island: null }], top_k: null };
