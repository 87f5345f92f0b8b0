"""Lists the parts of a training spec that change the outputs of frozen layers from epoch to epoch."""

from core.spec.job import JobSpec


def find_cache_obstacles(spec: JobSpec) -> list[str]:
    """Return the reasons why the outputs of the frozen layers cannot be computed once; empty if the spec has none.

    Whether the network has frozen layers before all others must be checked separately.
    """
    obstacles = [] if spec.freeze else ["no parameters are frozen; set freeze"]
    obstacles += [
        f"the transform {transform.name!r} changes the images in each epoch"
        for transform in spec.dataset.train_transforms
        if not transform.replaces_normalization
    ]
    for callback in spec.callbacks:
        if callback.mixes_images:
            obstacles.append(f"the callback {callback.name!r} mixes the images")
        if callback.averages_after_training:
            obstacles.append(f"the callback {callback.name!r} runs the whole network after the training")
    if spec.compile:
        obstacles.append("'compile' compiles the whole network")
    if spec.resources.devices > 1:
        obstacles.append(f"the training uses {spec.resources.devices} devices")
    if spec.loss is not None and spec.loss.name == "bce":
        obstacles.append("the loss 'bce' converts the outputs of the network; use 'bce_with_logits'")
    return obstacles
