"""The sweeps that have not ended and refer to a model."""

from core.db.repos.model_dependents import ModelDependentRepo
from core.db.repos.sweeps import SweepRepo
from core.db.session import SessionFactory, transaction
from core.sweeps.states import SweepState
from tests.support.stored_sweeps import add_sweep
from tests.support.sweeps import BASE, LR, build_sweep


def test_open_sweeps_refer_to_a_model_in_their_base_or_with_a_parameter(sessions: SessionFactory) -> None:
    choice = {"/init_from": {"type": "choice", "values": ["body@best", "body", None, 3, "bodywork@best"]}}
    base = add_sweep(sessions, build_sweep(base=BASE | {"init_from": "body@1"}))
    parameter = add_sweep(sessions, build_sweep(space=LR | choice))
    add_sweep(sessions, build_sweep(base=BASE | {"init_from": "bodywork@1"}))
    add_sweep(sessions, build_sweep())
    with transaction(sessions, read_only=True) as session:
        dependents = ModelDependentRepo(session)
        assert dependents.list_sweeps("body") == [base, parameter]
        assert dependents.list_sweeps("body", {1}) == []  # no version exists
        assert dependents.list_sweeps_by_alias("body", "best") == [parameter]
        assert dependents.list_sweeps_by_alias("body", "default") == [parameter]
        assert dependents.list_sweeps_by_alias("body", "other") == []
    with transaction(sessions) as session:
        repo = SweepRepo(session)
        repo.end(repo.finish(parameter), SweepState.SUCCEEDED)
        assert ModelDependentRepo(session).list_sweeps("body") == [base]
