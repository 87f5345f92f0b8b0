"""The spec of a tuning run."""

from core.spec.callbacks import CallbackSpec
from tests.support.spec_examples import build_member, list_names
from tests.support.training import build_spec
from worker.builders.finder_run import build_finder_spec


def test_finder_run_keeps_only_callbacks_that_change_steps() -> None:
    kept = set()
    for name in list_names(CallbackSpec):
        spec = build_spec(callbacks=[build_member(name)], schedule={"name": "cosine"}, batch_size=8)
        finder_spec = build_finder_spec(spec)
        assert (finder_spec.schedule, finder_spec.metrics, finder_spec.batch_size) == (None, (), 8)
        kept |= {callback.name for callback in finder_spec.callbacks}
    assert kept == {"gradient_clip", "lookahead", "mixup", "cutmix"}
