"""Uses the Python client of openapi-generator: submits a job, reads a problem, predicts, and runs inference.

    python use_python_client.py http://127.0.0.1:8000

The last line of the output is a JSON document. The package `generated_client` lies next to this file.
"""

import json
import sys
from typing import Any

import generated_client as generated

PIXELS = list(range(144))


def use(client: generated.ApiClient) -> dict[str, Any]:
    """Call the service and return what the client read."""
    jobs, models = generated.JobsApi(client), generated.ModelsApi(client)
    spec = generated.JobSpec.from_dict(
        {
            "kind": "train",
            "dataset": {"name": "digits"},
            "architecture": {"name": "mlp"},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "callbacks": [{"name": "early_stopping", "patience": 3}],
        }
    )
    job = jobs.submit_job(generated.Spec(spec))
    try:
        jobs.show_job("0" * 32)
        problem = None
    except generated.ApiException as error:
        problem = error.data.type
    predicted = models.predict("cats", generated.PredictIn.from_dict({"instances": [{"values": PIXELS}]}))
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 6, 3], "data": PIXELS}
    inferred = generated.OpenInferenceProtocolApi(client).infer(
        "cats", generated.InferIn.from_dict({"inputs": [tensor]})
    )
    return {
        "state": jobs.show_job(job.id).state.value,
        "numJobs": len(jobs.list_jobs(limit=10).actual_instance.items),
        "problem": problem,
        "predictions": len(predicted.predictions),
        "outputs": [output.name for output in inferred.outputs],
    }


if __name__ == "__main__":
    with generated.ApiClient(generated.Configuration(host=sys.argv[1])) as client:
        sys.stdout.write(json.dumps(use(client)))
