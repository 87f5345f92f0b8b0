"""The rules by which the parts of a job fit together: what is refused, where it is, and what only gets a warning."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.services.catalog import list_union_members
from app.services.validation import training
from core.datasets.definition import DatasetFacts
from core.errors import InvalidSpec
from core.spec import JobSpec
from core.spec.losses import TABLE, LossSpec
from tests.support.networks import LocalNetworks

IMAGES = DatasetFacts("classification", ("a", "b", "c"), 3, (1, 8, 8), {"train": 100, "valid": 20})
NETWORKS = LocalNetworks()
CONVNET = {"name": "convnet", "channels": [4], "batch_norm": True, "head": [8]}


def resolved(facts: DatasetFacts = IMAGES, **changes: Any) -> training.ResolvedSpec:
    body = {"dataset": {"name": "digits"}, "architecture": CONVNET, **changes}
    return training.resolve(
        JobSpec.model_validate(body), training.PinnedDataset(1, {}, facts), frozenset({"cpu"}), NETWORKS
    )


def refusals(facts: DatasetFacts = IMAGES, **changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidSpec) as refused:
        resolved(facts, **changes)
    return list(refused.value.errors)


def test_a_pattern_for_parameters_must_match_one() -> None:
    ((pointer, reason),) = refusals(
        optimizer={"name": "sgd", "groups": [{"match": "*.weight", "lr": 0.1}, {"match": "stem.*"}]}
    )
    assert pointer == "/optimizer/groups/1/match"
    assert reason.startswith("no parameter matches 'stem.*'; there are ")
    found = refusals(callbacks=[{"name": "time_limit", "seconds": 1.0}, {"name": "freeze", "match": "stem.*"}])
    assert [pointer for pointer, _ in found] == ["/callbacks/1/match"]


SGD, ADAM, MUON, ADADELTA = ({"name": name} for name in ("sgd", "adam", "muon", "adadelta"))


def several(*parts: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"name": "several", "parts": [{"match": match, "optimizer": optimizer} for match, optimizer in parts]}


def test_several_optimizers_have_every_parameter_and_some_each() -> None:
    resolved(optimizer=several(("head.*", SGD), ("*", ADAM)))
    ((pointer, reason),) = refusals(optimizer=several(("stem.*", SGD), ("*", ADAM)))
    assert pointer == "/optimizer/parts/0/match"
    assert reason.startswith("no parameter matches 'stem.*'; there are features.0.weight, ")
    ((pointer, reason),) = refusals(optimizer=several(("features.*", SGD), ("*.weight", ADAM)))
    assert pointer == "/optimizer/parts"
    assert reason == "no part matches head.0.bias, head.2.bias, head.3.bias; let the last one match '*'"
    ((pointer, reason),) = refusals(optimizer=several(("*", SGD), ("head.*", ADAM)))
    assert pointer == "/optimizer/parts/1/match"
    assert reason == "parts before it have all that 'head.*' matches; put narrower patterns first"


def test_a_group_of_a_part_is_among_its_parameters() -> None:
    grouped = SGD | {"groups": [{"match": "*.bias", "lr": 0.1}, {"match": "features.*", "lr": 0.1}]}
    ((pointer, reason),) = refusals(optimizer=several(("head.*", grouped), ("*", ADAM)))
    assert pointer == "/optimizer/parts/0/optimizer/groups/1/match"
    assert reason.startswith("no parameter matches 'features.*'; there are head.0.weight, head.0.bias, ")
    resolved(optimizer=several(("*", grouped), ("head.*", ADAM))["parts"][0]["optimizer"])


def test_one_of_several_optimizers_has_a_momentum_to_cycle() -> None:
    one_cycle = {"name": "one_cycle", "max_lr": 0.01}
    resolved(optimizer=several(("head.*", MUON), ("*", ADAM)), schedule=one_cycle)
    ((pointer, reason),) = refusals(optimizer=several(("head.*", MUON), ("*", ADADELTA)), schedule=one_cycle)
    assert (pointer, reason) == (
        "/schedule/cycle_momentum",
        "'adadelta' and 'muon' have no momentum to cycle; set it to false",
    )


def test_what_a_decay_spares_is_shown_in_the_resolved_spec() -> None:
    shown = resolved(optimizer={"name": "adamw"}).spec.model_dump()["optimizer"]
    assert shown["decay_norms_and_biases"] is False
    assert resolved(optimizer={"name": "adam"}).spec.model_dump()["optimizer"]["decay_norms_and_biases"] is True


def test_lbfgs_is_refused_where_it_cannot_work() -> None:
    found = refusals(optimizer={"name": "lbfgs"}, callbacks=[{"name": "gradient_clip"}], precision="fp16", device="cpu")
    assert {"/precision", "/callbacks/0"} <= {pointer for pointer, _ in found}


def test_one_cycle_has_no_momentum_to_cycle_in_muon() -> None:
    one_cycle = {"name": "one_cycle", "max_lr": 0.01}
    assert [pointer for pointer, _ in refusals(optimizer={"name": "muon"}, schedule=one_cycle)] == [
        "/schedule/cycle_momentum"
    ]
    resolved(optimizer={"name": "muon"}, schedule={**one_cycle, "cycle_momentum": False})


def test_a_step_has_one_average_and_one_mixture() -> None:
    callbacks = [{"name": "ema"}, {"name": "mixup"}, {"name": "swa"}, {"name": "cutmix"}]
    assert [pointer for pointer, _ in refusals(callbacks=callbacks)] == ["/callbacks/2", "/callbacks/3"]
    assert [pointer for pointer, _ in refusals(callbacks=[{"name": "swa"}, {"name": "keep_best"}])] == ["/callbacks"]


def test_training_accuracy_of_mixed_images_gives_a_warning() -> None:
    watched = {"name": "early_stopping", "monitor": "train_accuracy"}
    (warning,) = resolved(callbacks=[{"name": "mixup"}, watched]).warnings
    assert warning.startswith("'train_accuracy' means little")
    assert resolved(callbacks=[{"name": "mixup"}, {"name": "early_stopping"}]).warnings == ()


def test_steps_are_of_accumulated_batches() -> None:
    assert resolved(batch_size=8, accumulate_batches=5).steps_per_epoch == 2
    assert refusals(batch_size=8, accumulate_batches=20)[0][0] == "/batch_size"


FLAT = [{"type": "flatten"}, {"type": "linear", "out": 3}]
NUMBERS = DatasetFacts("regression", (), 3, (1, 8, 8), {"train": 100, "valid": 20})
LABELS = DatasetFacts("multilabel", ("a", "b", "c"), 3, (1, 8, 8), {"train": 100, "valid": 20})


def warnings(facts: DatasetFacts, loss: str, last: str | None) -> tuple[str, ...]:
    layers = [*FLAT, *([{"type": last}] if last else [])]
    return resolved(facts, loss={"name": loss}, architecture={"name": "layers", "layers": layers}, metrics=[]).warnings


@pytest.mark.parametrize(
    ("facts", "loss", "last", "advice"),
    [
        (IMAGES, "cross_entropy", "softmax", "gives probabilities"),
        (IMAGES, "cross_entropy", "log_softmax", "gives log-probabilities; 'nll' would"),
        (IMAGES, "cross_entropy", "sigmoid", "gives probabilities"),
        (IMAGES, "focal", "softmax", "gives probabilities"),
        (IMAGES, "multi_margin", "log_softmax", "gives log-probabilities; 'nll' would"),
        (IMAGES, "nll", None, "gives raw scores; 'cross_entropy' or 'focal' or 'multi_margin' would"),
        (IMAGES, "nll", "softmax", "gives probabilities"),
        (LABELS, "bce_with_logits", "sigmoid", "gives probabilities; 'bce' would"),
        (LABELS, "bce", None, "gives raw scores; 'bce_with_logits' or"),
        (LABELS, "bce", "log_softmax", "gives log-probabilities"),
        (LABELS, "bce_with_logits", "log_softmax", "gives log-probabilities"),
        (NUMBERS, "kl_div", None, "gives raw scores"),
        (NUMBERS, "kl_div", "softmax", "gives probabilities"),
    ],
)
def test_a_last_layer_that_contradicts_the_loss_gives_a_warning(
    facts: DatasetFacts, loss: str, last: str | None, advice: str
) -> None:
    (warning,) = warnings(facts, loss, last)
    assert warning.startswith(f"the loss '{loss}' takes ")
    assert advice in warning


@pytest.mark.parametrize(
    ("facts", "loss", "last"),
    [
        (IMAGES, "cross_entropy", None),
        (IMAGES, "nll", "log_softmax"),
        (LABELS, "bce_with_logits", None),
        (LABELS, "bce", "sigmoid"),
        (NUMBERS, "kl_div", "log_softmax"),
        (NUMBERS, "mse", "sigmoid"),
        (NUMBERS, "huber", None),
    ],
)
def test_a_last_layer_that_suits_the_loss_gives_none(facts: DatasetFacts, loss: str, last: str | None) -> None:
    assert warnings(facts, loss, last) == ()


def test_a_convnet_gives_raw_scores() -> None:
    assert len(resolved(loss={"name": "nll"}).warnings) == 1
    assert resolved().warnings == ()


def test_every_loss_has_a_line_in_the_table() -> None:
    kinds = [kind.model_fields["name"].default for kind in list_union_members(LossSpec)]
    assert sorted(kinds) == sorted(TABLE)


def test_what_leaves_files_is_asked_for_once_and_counts_classes_only() -> None:
    twice = [{"name": "csv_logger"}, {"name": "tensorboard"}, {"name": "csv_logger"}]
    assert refusals(callbacks=twice) == [("/callbacks/2", "there can be one 'csv_logger' only")]
    numbers = DatasetFacts("regression", (), 1, (1, 8, 8), {"train": 100, "valid": 20})
    asked = [{"name": "worst_samples"}, {"name": "confusion_matrix"}]
    ((pointer, reason),) = refusals(numbers, callbacks=asked)
    assert (pointer, reason) == (
        "/callbacks/1/name",
        "'confusion_matrix' needs classes; the dataset's targets are numbers",
    )
    many = DatasetFacts("classification", tuple(map(str, range(1001))), 1001, (1, 8, 8), {"train": 100, "valid": 20})
    ((_, reason),) = refusals(many, callbacks=asked)
    assert "at most 1000" in reason


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"batch_size": 9}, "/batch_size"),
        ({"batch_size": 9, "accumulate_batches": 2}, "/batch_size"),
        ({"batch_size": 8, "drop_last": False, "dataset": {"name": "digits", "valid": 0.03}}, "/drop_last"),
        ({"optimizer": {"name": "lbfgs"}}, "/optimizer/name"),
        ({"on_oom": "accumulate"}, "/on_oom"),
        ({"callbacks": [{"name": "batch_size_finder"}]}, "/callbacks/0"),
        ({"device": "mps"}, "/device"),
    ],
)
def test_what_several_processes_cannot_share_is_refused(changes: dict[str, Any], pointer: str) -> None:
    assert pointer in [at for at, _ in refusals(**changes, resources={"devices": 2})]
    if pointer != "/device":
        resolved(**changes)


def test_several_processes_share_what_they_can() -> None:
    resolved(batch_size=8, drop_last=False, resources={"devices": 2})
    balanced = {"name": "cross_entropy", "class_weights": "balanced"}
    assert resolved(loss=balanced, resources={"devices": 2}).warnings == ()


def test_a_sampler_evens_out_classes_once_where_there_are_any() -> None:
    resolved(sampler="weighted")
    (warning,) = resolved(sampler="weighted", loss={"name": "cross_entropy", "class_weights": "balanced"}).warnings
    assert "both even out the classes" in warning
    for task in ("regression", "multilabel"):
        facts = IMAGES._replace(task=task)
        assert [pointer for pointer, _ in refusals(facts, sampler="weighted")] == ["/sampler"]


def test_batch_sizes_are_tried_by_one_process() -> None:
    asked = [{"name": "batch_size_finder"}]
    resolved(callbacks=asked)
    found = refusals(callbacks=asked, resources={"devices": 2}, batch_size=32)
    assert "/callbacks/0" in [pointer for pointer, _ in found]


def test_weights_of_its_own_has_an_architecture_that_was_published_with_some() -> None:
    ((pointer, reason),) = refusals(weights="pretrained")
    assert (pointer, reason) == ("/weights", "'convnet' has no weights of its own; efficientnet_lite0 has")
    lite = {"name": "efficientnet_lite0"}
    colours = IMAGES._replace(image_shape=(3, 32, 32))
    assert resolved(colours, architecture=lite, weights="pretrained").warnings == ()
    normalize = {"name": "normalize", "mean": [0.5] * 3, "std": [0.5] * 3}
    dataset = {"name": "digits", "train_transforms": [normalize]}
    (warning,) = resolved(colours, architecture=lite, weights="pretrained", dataset=dataset).warnings
    assert warning.startswith("'normalize' takes the place")


def test_a_metric_is_watched_where_it_is_measured() -> None:
    asked = [{"name": "accuracy", "on": "valid"}, {"name": "auroc", "average": "none"}]
    resolved(metrics=asked, callbacks=[{"name": "keep_best", "monitor": "valid_accuracy"}])
    for monitor in ("train_accuracy", "valid_auroc"):
        found = refusals(metrics=asked, callbacks=[{"name": "keep_best", "monitor": monitor}])
        assert [pointer for pointer, _ in found] == ["/callbacks/0/monitor"]
    binary = IMAGES._replace(task="binary", classes=("a", "b"), num_outputs=1)
    assert [pointer for pointer, _ in refusals(binary, metrics=asked[1:])] == ["/metrics/0/average"]


def test_a_change_within_another_must_fit_the_images_too() -> None:
    inner = [
        {"name": "rotation"},
        {"name": "random_grayscale"},
        {"name": "random_crop", "padding": 8, "mode": "reflect"},
    ]
    asked = {"name": "digits", "train_transforms": [{"name": "random_apply", "transforms": inner}]}
    found = dict(refusals(dataset=asked))
    at = "/dataset/train_transforms/0/transforms"
    assert found == {
        f"{at}/1": "pictures of 1 channels have no colours to take out",
        f"{at}/2/padding": "must be below the picture's size, 8, to be a reflection",
    }


def test_a_test_is_held_out_where_the_dataset_has_none() -> None:
    spec = resolved(dataset={"name": "digits", "valid": 0.2, "test": 0.2}, batch_size=10).spec
    assert (spec.dataset.valid, spec.dataset.test) == (0.2, 0.2)
    assert resolved(dataset={"name": "digits", "valid": 0.2, "test": 0.2}, batch_size=10).steps_per_epoch == 6
    has_one = IMAGES._replace(splits={"train": 100, "test": 9})
    ((pointer, reason),) = refusals(has_one, dataset={"name": "digits", "test": 0.2})
    assert (pointer, reason) == ("/dataset/test", "the dataset has a test split of its own, of 9 samples")
    for wrong in (2, -1):
        with pytest.raises(ValidationError, match=f"{wrong}"):
            JobSpec.model_validate({"dataset": {"name": "digits", "test": wrong}, "architecture": CONVNET})
