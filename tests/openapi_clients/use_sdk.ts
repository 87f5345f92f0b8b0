// Uses the generated SDK as its users do: submits a job, reads a problem, predicts, and runs inference under /v2.
import { client } from "./generated/client.gen";
import { infer, listJobs, predict, showJob, submitJob } from "./generated/sdk.gen";
import type { JobOut, ProblemOut } from "./generated/types.gen";

async function main(baseUrl: string): Promise<void> {
  client.setConfig({ baseUrl });
  const submitted = await submitJob({
    body: {
      kind: "train",
      dataset: { name: "digits" },
      architecture: { name: "mlp" },
      optimizer: { name: "sgd", lr: 0.1 },
      callbacks: [{ name: "early_stopping", patience: 3 }],
    },
  });
  const job = submitted.data as JobOut;
  const shown = await showJob({ path: { job_id: job.id } });
  const jobs = await listJobs({ query: { limit: 10 } });
  const missing = await showJob({ path: { job_id: "0".repeat(32) } });
  const problem: ProblemOut | undefined = missing.error;
  const pixels = Array.from({ length: 144 }, (_, index) => index);
  const predicted = await predict({
    path: { ref: "cats" },
    body: { instances: [{ values: pixels }], top_k: null },
  });
  const inferred = await infer({
    path: { model: "cats" },
    body: { inputs: [{ name: "image", datatype: "UINT8", shape: [1, 8, 6, 3], data: pixels }] },
  });
  const spec = shown.data?.spec;
  console.log(
    JSON.stringify({
      state: job.state,
      optimizer: spec?.kind === "train" ? spec.optimizer?.name : null,
      numJobs: jobs.data?.items.length,
      problem: problem?.type,
      predictions: predicted.data?.predictions.length,
      outputs: inferred.data && "outputs" in inferred.data ? inferred.data.outputs.map((output) => output.name) : [],
    }),
  );
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
