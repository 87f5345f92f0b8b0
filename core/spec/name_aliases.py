"""The names that torchvision, Keras, Lightning, luz and scikit-learn use for what has another name here.

Error messages suggest the name of this service first. A name is compared without case, punctuation, package and common
prefixes: `RandomHorizontalFlip`, `transform_random_horizontal_flip` and `v2.RandomHorizontalFlip` are one alias.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

MAX_LENGTH = 64  # characters of a name that are compared
ALIASES: dict[str, dict[str, str]] = {
    "transforms": {
        "horizontal_flip": "random_horizontal_flip hflip random_flip flip fliplr flip_left_right",
        "vertical_flip": "random_vertical_flip vflip flipud flip_up_down",
        "rotation": "random_rotation random_rotate rotate",
        "affine": "random_affine random_translation random_zoom random_shear shift_scale_rotate translation zoom shear",
        "random_crop": "crop pad_and_crop",
        "random_resized_crop": "random_size_crop resized_crop inception_crop",
        "random_perspective": "perspective",
        "random_erasing": "erasing cutout coarse_dropout",
        "random_grayscale": "to_gray grayscale gray",
        "color_jitter": "random_brightness random_contrast random_saturation random_hue random_color_jitter jitter "
        "brightness contrast random_brightness_contrast",
        "rand_augment": "random_augment auto_augment trivial_augment trivial_augment_wide aug_mix",
        "random_apply": "sometimes",
        "random_choice": "one_of",
        "random_order": "some_of",
        "normalize": "normalization standardize rescaling",
    },
    "metrics": {
        "accuracy": "acc categorical_accuracy binary_accuracy sparse_categorical_accuracy multiclass_accuracy "
        "accuracy_score multilabel_accuracy",
        "top_k": "top_k_categorical_accuracy top_k_accuracy sparse_top_k_categorical_accuracy top5 top_5_accuracy",
        "precision": "precision_score positive_predictive_value ppv",
        "recall": "recall_score sensitivity true_positive_rate tpr",
        "f1": "f1_score fbeta fbeta_score f_score",
        "auroc": "auc roc_auc roc_auc_score binary_auroc multiclass_auroc area_under_roc",
        "mae": "mean_absolute_error l1_error",
        "mse": "mean_squared_error l2_error",
        "rmse": "root_mean_squared_error",
        "r2": "r2_score r_squared rsq coefficient_of_determination",
        "confusion_matrix": "confmat conf_mat",
    },
    "losses": {
        "cross_entropy": "categorical_crossentropy sparse_categorical_crossentropy softmax_cross_entropy ce xent "
        "log_loss",
        "nll": "negative_log_likelihood",
        "focal": "sigmoid_focal binary_focal_crossentropy categorical_focal_crossentropy",
        "mse": "mean_squared_error l2 squared_error",
        "l1": "mean_absolute_error mae absolute_error",
        "smooth_l1": "smooth_mae",
        "huber": "huber_regression",
        "poisson_nll": "poisson",
        "kl_div": "kl_divergence kullback_leibler_divergence kld",
        "bce_with_logits": "binary_cross_entropy_with_logits binary_crossentropy sigmoid_cross_entropy bce_logits "
        "binary_cross_entropy",
        "multi_margin": "hinge categorical_hinge multi_class_hinge",
        "multilabel_margin": "multi_label_hinge",
    },
    "optimizers": {
        "sgd": "momentum stochastic_gradient_descent gradient_descent nesterov",
        "adam": "adam_optimizer",
        "adamw": "adam_weight_decay decoupled_adam ignite_adamw",
        "lbfgs": "l_bfgs_b",
        "several": "set_optimizers multi_optimizer parameter_groups param_groups",
    },
    "schedules": {
        "step": "step_decay step_lr piecewise_constant",
        "multi_step": "piecewise_constant_decay multi_step_decay",
        "exponential": "exponential_decay exp_decay",
        "constant": "constant_decay",
        "lambda": "learning_rate_scheduler lambda_lr",
        "linear": "linear_decay warmup linear_warmup",
        "polynomial": "polynomial_decay poly",
        "cosine": "cosine_annealing cosine_annealing_lr cosine_decay",
        "cosine_warm_restarts": "cosine_annealing_warm_restarts cosine_decay_restarts cosine_restarts sgdr",
        "cyclic": "cyclic_lr cyclical cyclical_learning_rate clr",
        "one_cycle": "one_cycle_lr one_cycle_policy 1cycle",
        "plateau": "reduce_lr_on_plateau reduce_on_plateau",
        "sequential": "sequential_lr chained chained_scheduler",
    },
    "callbacks": {
        "early_stopping": "early_stop",
        "model_checkpoint": "checkpoint checkpointing save_model backup_and_restore",
        "keep_best": "keep_best_model restore_best_weights best_model save_best",
        "gradient_clip": "gradient_clipping clip_grad clip_grad_norm grad_clip gradient_clip_val gradient_clip_norm",
        "time_limit": "timer max_time timeout time_stopping",
        "freeze": "backbone_finetuning base_finetuning freezing unfreeze",
        "ema": "exponential_moving_average ema_weight_averaging moving_average model_ema",
        "swa": "stochastic_weight_averaging weight_averaging",
        "csv_logger": "csv log_csv",
        "tensorboard": "tfevents tensorboard_logger tb",
        "confusion_matrix": "confmat",
        "batch_size_finder": "auto_batch_size batch_size_scaler batch_size_tuner",
    },
    "architectures": {
        "convnet": "cnn simple_cnn lenet lenet5 small_cnn",
        "mlp": "dense fully_connected feed_forward multi_layer_perceptron perceptron neural_network ffn",
        "layers": "sequential custom functional model",
        "tabular": "tabnet tabular_model embedding_net",
        "resnet50": "resnet resnet50v2",
        "vgg16": "vgg",
        "densenet121": "densenet",
        "mobilenet_v2": "mobilenet",
        "efficientnet_b0": "efficientnet",
        "vit_b_16": "vit vision_transformer vit_base",
        "inception_v3": "inception",
        "convnext_tiny": "convnext",
        "swin_t": "swin swin_transformer",
    },
    "datasets": {
        "cifar10": "cifar",
        "fashion_mnist": "fmnist",
        "tiny_imagenet": "tiny_imagenet_200",
        "palmerpenguins": "penguins",
        "digits": "load_digits optdigits",
    },
    "layers": {
        "linear": "dense fully_connected fc",
        "conv2d": "convolution2d conv convolution",
        "conv1d": "convolution1d",
        "max_pool2d": "max_pooling2d max_pool pool",
        "avg_pool2d": "average_pooling2d avg_pool",
        "max_pool1d": "max_pooling1d",
        "avg_pool1d": "average_pooling1d",
        "adaptive_avg_pool2d": "global_average_pooling2d global_avg_pool global_avg_pool2d gap",
        "adaptive_max_pool2d": "global_max_pooling2d global_max_pool",
        "batch_norm": "batch_normalization bn",
        "layer_norm": "layer_normalization ln",
        "group_norm": "group_normalization gn",
        "silu": "swish",
        "residual": "skip shortcut add res_block residual_block",
        "transpose": "permute",
        "reshape": "view unflatten",
        "rnn": "simple_rnn",
        "dropout2d": "spatial_dropout2d",
    },
    "options": {
        "lr": "learning_rate eta step_size_lr",
        "eps": "epsilon",
        "betas": "beta beta1 beta2 beta_1 beta_2",
        "alpha": "rho smoothing",
        "weight_decay": "l2 l2_regularization decay wd weight_regularization",
        "epochs": "num_epochs n_epochs max_epochs epoch nb_epoch max_epoch",
        "batch_size": "batchsize bs train_batch_size per_device_train_batch_size minibatch_size",
        "loss": "criterion loss_fn loss_function objective",
        "optimizer": "optim opt optimiser",
        "schedule": "scheduler lr_scheduler lr_schedule learning_rate_schedule",
        "metrics": "metric scoring",
        "callbacks": "callback",
        "architecture": "network net arch backbone architecture_name module",
        "dataset": "data data_set train_data",
        "seed": "random_state random_seed manual_seed rng_seed",
        "valid": "validation_split val_split valid_split validation_fraction val_fraction valid_data validation_data "
        "val_size validation_size val validation",
        "test": "test_split test_size test_fraction",
        "train_transforms": "transforms transform augmentation augmentations augment data_augmentation train_transform",
        "accumulate_batches": "accumulate_grad_batches gradient_accumulation_steps accumulation_steps grad_accum",
        "precision": "mixed_precision amp fp16 half_precision",
        "device": "accelerator gpu use_gpu cuda",
        "devices": "gpus num_gpus num_devices",
        "max_runtime_s": "max_time time_limit_s timeout max_runtime",
        "compile": "torch_compile jit_compile",
        "freeze": "frozen freeze_layers trainable",
        "weights": "pretrained pretrained_weights",
        "resume_from": "ckpt_path checkpoint resume resume_from_checkpoint",
        "init_from": "from_model start_from base_model",
        "sampler": "shuffle sampling",
        "class_weights": "class_weight weight weights",
        "p": "prob probability",
        "degrees": "angle angles rotation",
        "monitor": "metric watch quantity",
        "patience": "num_epochs_without_improvement wait",
        "every_epochs": "every_n_epochs period save_freq",
        "keep": "save_top_k keep_last max_to_keep",
        "max_norm": "clipnorm clip_norm gradient_clip_val max_grad_norm",
        "max_value": "clipvalue clip_value",
        "seconds": "max_time duration time",
        "gamma": "decay_rate",
        "step_size": "decay_steps step every",
        "milestones": "boundaries steps",
        "t_0": "first_decay_steps",
        "total_iters": "decay_steps warmup_steps warmup_iters num_warmup_steps total_steps",
        "k": "top_k num_top",
        "hidden": "hidden_sizes hidden_units hidden_size units hidden_dim hidden_dims hidden_layers layers "
        "hidden_layer_sizes",
        "channels": "filters num_filters widths num_channels",
        "dropout": "dropout_rate drop drop_rate",
        "in": "in_channels in_features input_size input_dim",
        "out": "out_channels out_features filters units output_dim",
        "kernel": "kernel_size pool_size",
        "stride": "strides",
        "type": "class_name layer name",
        "name": "type kind class_name",
    },
    "curves": {
        "valid_loss": "eval_loss loss test_loss",
        "train_loss": "loss",
        "valid_accuracy": "eval_accuracy eval_acc",
    },
    "places": {
        "optimizer.lr": "lr learning_rate",
        "optimizer.weight_decay": "weight_decay l2_regularization",
        "optimizer.momentum": "momentum",
        "dataset.valid": "validation_split val_split valid_split validation_fraction valid_data validation_data valid",
        "dataset.test": "test_split test_size test",
        "dataset.train_transforms": "transforms transform augmentation augment data_augmentation train_transforms",
        "loss.class_weights": "class_weight class_weights",
        "loss.label_smoothing": "label_smoothing",
        "resources.devices": "gpus num_gpus devices num_devices",
        "callbacks": "early_stopping early_stopping_patience patience gradient_clip_val clipnorm gradient_clip mixup "
        "checkpointing model_checkpoint",
    },
}
"""The aliases of each name, by kind. `places` has options that belong to another object of a job."""
_PREFIXES = (
    "luz_callback_", "luz_metric_", "luz_", "keras_callbacks_", "callback_", "optimizer_", "loss_", "metric_",
    "metrics_", "transform_", "layer_", "activation_", "model_", "nnf_", "nn_", "optim_", "lr_",
    "learning_rate_schedule_", "application_",
)  # fmt: skip
_SUFFIXES = ("loss", "callback", "optimizer", "scheduler", "schedule", "layer", "lr", "metric", "spec")
_SPLITS = {
    "validation": "valid",
    "valid": "valid",
    "val": "valid",
    "dev": "valid",
    "training": "train",
    "train": "train",
}
_COMPONENTS = {
    "transforms": "the transform", "metrics": "the metric", "losses": "the loss", "optimizers": "the optimizer",
    "schedules": "the schedule", "callbacks": "the callback",
}  # fmt: skip
_NOT_WORD = re.compile(r"[^a-z0-9]")


def normalize_name(name: str) -> str:
    """Return a name in lower case without punctuation."""
    return _NOT_WORD.sub("", name[:MAX_LENGTH].lower())


def _build_targets() -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the names that each alias may mean, by kind and normal form of the alias."""
    targets: dict[str, dict[str, tuple[str, ...]]] = {}
    for kind, names in ALIASES.items():
        by_alias = targets.setdefault(kind, {})
        for target, aliases in names.items():
            for alias in map(normalize_name, aliases.split()):
                by_alias[alias] = (*by_alias.get(alias, ()), target)
    return targets


_TARGETS = _build_targets()


def find_aliased_names(name: str, valid_names: Sequence[str]) -> list[str]:
    """Return the valid names that other tools call `name`, or that differ from it only in case, punctuation or prefix.

    A name such as `optimizer.lr` is valid if `optimizer` is.
    """
    candidates = list(_iterate_candidates(name))
    by_normal_form: dict[str, str] = {}
    for valid in valid_names:
        by_normal_form.setdefault(normalize_name(valid), valid)
    for candidate in candidates:
        if candidate in by_normal_form:
            return [by_normal_form[candidate]]
    known = set(valid_names)
    for candidate in candidates:
        for targets in _TARGETS.values():
            if found := [target for target in targets.get(candidate, ()) if target.partition(".")[0] in known]:
                return found
    return _find_curves(name, known)


def find_other_component(name: str) -> str:
    """Return the component of another kind that other tools call `name`, such as `the schedule 'plateau'`, or ""."""
    for candidate in _iterate_candidates(name):
        for kind, title in _COMPONENTS.items():
            if targets := _TARGETS[kind].get(candidate):
                return f"{title} {targets[0]!r}"
    return ""


def _iterate_candidates(name: str) -> Iterator[str]:
    """Yield the normal forms of a name: the whole name, without its package, and without prefixes and suffixes."""
    short = re.split(r"[.:/$]", name[:MAX_LENGTH])[-1]
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", short).lower()
    forms = [name, short]
    forms += [snake.removeprefix(prefix) for prefix in _PREFIXES if snake.startswith(prefix)]
    normal_forms = dict.fromkeys(map(normalize_name, forms))
    yield from normal_forms
    for form in normal_forms:
        for suffix in _SUFFIXES:
            if form.endswith(suffix) and form != suffix:
                yield form.removesuffix(suffix)


def _find_curves(name: str, known: Iterable[str]) -> list[str]:
    """Return the curve that a name such as `val_acc` means."""
    parts = re.split(r"[_/. -]", name[:MAX_LENGTH].lower(), maxsplit=1)
    split, metric = _SPLITS.get(parts[0]), parts[-1]
    metrics = [metric, *_TARGETS["metrics"].get(normalize_name(metric), ())]
    if split is None:  # Keras names the training's curves without a prefix
        splits, metrics = ("train", "valid"), [name.lower(), *_TARGETS["metrics"].get(normalize_name(name), ())]
    else:
        splits = (split,)
    return [curve for each in metrics for one in splits if (curve := f"{one}_{each}") in known]
