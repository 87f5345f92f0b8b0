"""Examples of request bodies for the API documentation. A test sends each example to the API."""

from typing import Any

JOBS: dict[str, Any] = {
    "smallest": {
        "summary": "Only the required fields",
        "value": {"kind": "train", "dataset": {"name": "digits"}, "architecture": {"name": "convnet"}},
    },
    "early stopping": {
        "summary": "A convnet with batch normalization, augmentation, a one-cycle schedule and early stopping",
        "value": {
            "kind": "train",
            "name": "digits-convnet",
            "model": "digits",
            "dataset": {
                "name": "digits",
                "valid": 0.2,
                "train_transforms": [{"name": "affine", "degrees": 10, "translate": 0.1}],
            },
            "architecture": {"name": "convnet", "channels": [16, 32], "batch_norm": True, "head": [64]},
            "optimizer": {"name": "adamw", "lr": 0.003},
            "schedule": {"name": "one_cycle", "max_lr": 0.01},
            "metrics": ["accuracy", {"name": "top_k", "k": 3}],
            "epochs": 20,
            "batch_size": 64,
            "callbacks": [
                {"name": "early_stopping", "monitor": "valid_loss", "patience": 5},
                {"name": "model_checkpoint", "save_best_only": True},
            ],
        },
    },
    "layers": {
        "summary": "A network that is defined layer by layer, trained on synthetic images",
        "value": {
            "kind": "train",
            "dataset": {
                "name": "synthetic",
                "image_shape": [3, 16, 16],
                "num_classes": 4,
                "num_samples": 200,
                "seed": 0,
            },
            "architecture": {
                "name": "layers",
                "layers": [
                    {"type": "conv2d", "out": 8, "kernel": 3, "padding": 1},
                    {"type": "relu"},
                    {"type": "max_pool2d", "kernel": 2},
                    {"type": "flatten"},
                    {"type": "linear", "out": 4},
                ],
            },
            "epochs": 2,
        },
    },
    "learning rate": {
        "summary": "Find a learning rate",
        "value": {
            "kind": "lr_find",
            "dataset": {"name": "digits"},
            "architecture": {"name": "convnet", "channels": [16, 32], "head": [64]},
            "start_lr": 1e-6,
            "end_lr": 1.0,
        },
    },
    "part frozen": {
        "summary": "Train only the last layer, and find the maximum learning rate",
        "value": {
            "kind": "train",
            "dataset": {"name": "digits"},
            "architecture": {"name": "mlp", "hidden": [32]},
            "schedule": {"name": "one_cycle", "max_lr": "auto"},
            "freeze": ["*", "!3.*"],
        },
    },
}

MODEL_JOBS: dict[str, Any] = {  # the test first registers `digits@1`
    "evaluate": {
        "summary": "Evaluate a model on the validation split of its training",
        "value": {"kind": "evaluate", "model": "digits@1", "dataset": {"name": "digits"}, "split": "valid"},
    },
    "predict": {
        "summary": "Predict every sample of a split; the results are files",
        "value": {"kind": "predict", "model": "digits@1", "dataset": {"name": "digits"}, "split": "valid", "top_k": 3},
    },
    "variant": {
        "summary": "Create a variant of a model, and evaluate it on the validation split",
        "value": {"kind": "variant", "model": "digits@1", "dataset": {"name": "digits"}, "format": "openvino"},
    },
}

MODELS: dict[str, Any] = {
    "weights of a file": {
        "summary": "A network with the weights of a file of the workers",
        "value": {
            "name": "pets",
            "architecture": {"name": "resnet18"},
            "weights": "file:pets.safetensors",
            "image_shape": [3, 224, 224],
            "classes": ["cat", "dog"],
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
    },
    "published weights": {
        "summary": "A network that knows the 1000 classes of ImageNet",
        "value": {"name": "lite0", "architecture": {"name": "efficientnet_lite0"}, "weights": "pretrained"},
    },
}

VARIANTS: dict[str, Any] = {
    "auto": {"summary": "The fastest format that is accurate enough", "value": {"format": "auto"}},
    "onnx": {"summary": "An ONNX file, to download or to serve", "value": {"format": "onnx"}},
    "int8": {
        "summary": "Quantized to int8; the accuracy may drop by at most 0.02",
        "value": {"format": "int8", "max_drop": 0.02, "calibration_samples": 512},
    },
}

CHANGES: dict[str, Any] = {
    "other optimizer": {
        "summary": "Another optimizer and seed",
        "value": {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}, "seed": 1},
    },
    "the same again": {"summary": "The same spec, without changes", "value": {}},
}

REPRODUCTIONS: dict[str, Any] = {
    "the same again": {"summary": "The same training", "value": {}},
    "another seed": {"summary": "The same training with another seed", "value": {"changes": {"seed": 2}}},
}

EXTENSIONS: dict[str, Any] = {
    "more epochs": {"summary": "Five more epochs", "value": {"epochs": 5}},
    "new schedule": {
        "summary": "Five more epochs with a new schedule",
        "value": {"epochs": 5, "schedule": {"name": "cosine"}},
    },
}
