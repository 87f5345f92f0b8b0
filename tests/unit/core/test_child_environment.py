"""Child processes inherit what their libraries read, and no credentials."""

import pytest

from core.child_environment import build_child_environment
from tests.support.process_environment import CREDENTIALS


def test_credentials_are_not_inherited() -> None:
    assert build_child_environment(CREDENTIALS) == {}


@pytest.mark.parametrize(
    "name", ["CUDA_API_KEY", "TORCH_HUB_TOKEN", "NVIDIA_SECRET", "PYTHON_INDEX_URL", "LC_PASSWORD"]
)
def test_a_credential_is_not_inherited_because_of_its_prefix(name: str) -> None:
    assert build_child_environment({name: "x"}) == {}


@pytest.mark.parametrize(
    "name",
    """PATH HOME LANG LC_ALL TZ TMPDIR PYTHONPATH PYTHONUNBUFFERED LD_LIBRARY_PATH CUDA_VISIBLE_DEVICES
    NVIDIA_VISIBLE_DEVICES OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS TORCHINDUCTOR_CACHE_DIR
    PYTORCH_CUDA_ALLOC_CONF NCCL_SOCKET_IFNAME GLOO_SOCKET_IFNAME ONEDNN_MAX_CPU_ISA ATEN_CPU_CAPABILITY
    TRITON_CACHE_DIR MPLCONFIGDIR XDG_CACHE_HOME CXX CANDELA_HOME CANDELA_LOG_LEVEL""".split(),
)
def test_variables_of_libraries_are_inherited(name: str) -> None:
    assert build_child_environment({name: "x"}) == {name: "x"}


def test_an_operator_can_name_further_variables() -> None:
    parent = {"HF_HOME": "/models", "HF_TOKEN": "hidden", "OTHER": "x"}
    assert build_child_environment(parent, ["HF_HOME", "HF_TOKEN"]) == {"HF_HOME": "/models", "HF_TOKEN": "hidden"}
