"""Examples of sweeps for the API documentation. A test sends each example to the API."""

from typing import Any

SWEEPS: dict[str, Any] = {
    "scanned digits": {  # the dashboard starts with it; a test compares it with examples/digits_sweep.yaml
        "summary": "The learning rate, the batch size and the width of a small network, in a few minutes",
        "value": {
            "name": "digits-sweep",
            "base": {
                "dataset": "digits",
                "architecture": {"name": "convnet", "channels": [16, 32], "head": [64]},
                "metrics": ["accuracy"],
                "epochs": 9,
            },
            "space": {
                "/optimizer/lr": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
                "/batch_size": {"type": "int", "low": 16, "high": 128, "step": 16},
                "/architecture/head": {"type": "choice", "values": [[32], [64], [128]]},
            },
            "objective": {"metric": "valid_accuracy"},
            "sampler": {"name": "tpe"},
            "scheduler": {"name": "asha", "min_epochs": 1, "reduction": 3},
            "budget": {"trials": 15},
            "parallel": 2,
            "seed": 1,
        },
    },
    "learning rate": {
        "summary": "The learning rate of Adam; the default budget is 20 trials",
        "value": {
            "name": "digits-lr",
            "base": {"dataset": {"name": "digits"}, "architecture": {"name": "convnet"}, "epochs": 10},
            "space": {"/optimizer/lr": {"type": "float", "low": 1e-5, "high": 0.3, "log": True}},
        },
    },
    "successive halving": {
        "summary": "Several parameters, one of them conditional, and bad trials stop after a few epochs",
        "value": {
            "name": "digits-asha",
            "base": {"dataset": {"name": "digits"}, "architecture": {"name": "convnet"}, "epochs": 27},
            "space": {
                "/optimizer": {"type": "choice", "values": [{"name": "adam"}, {"name": "sgd"}]},
                "/optimizer/lr": {"type": "float", "low": 1e-5, "high": 0.3, "log": True},
                "/optimizer/momentum": {
                    "type": "float",
                    "low": 0.0,
                    "high": 0.99,
                    "when": {"/optimizer/name": "sgd"},
                },
                "/architecture/channels": {"type": "choice", "values": [[16, 32], [32, 64]]},
                "/batch_size": {"type": "int", "low": 16, "high": 256, "step": 16},
            },
            "objective": {"metric": "valid_accuracy"},
            "sampler": {"name": "tpe"},
            "scheduler": {"name": "asha", "min_epochs": 1, "reduction": 3},
            "budget": {"trials": 60, "epochs": 600, "hours": 4.0},
            "parallel": 4,
            "stop": {"objective_reaches": 0.995, "no_gain_in_trials": 20},
            "keep": {"best": 3},
        },
    },
    "grid": {
        "summary": "Every combination of some values, with two jobs each",
        "value": {
            "base": {"dataset": {"name": "digits"}, "architecture": {"name": "mlp"}, "epochs": 5},
            "space": {
                "/optimizer/lr": {"type": "choice", "values": [0.001, 0.01]},
                "/batch_size": {"type": "choice", "values": [32, 64]},
            },
            "sampler": {"name": "grid"},
            "repeats": 2,
        },
    },
}
