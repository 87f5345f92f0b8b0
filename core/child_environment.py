"""Selects the environment variables that child processes inherit: what libraries read, and no credentials."""

import re
from collections.abc import Collection, Mapping

NAMES = frozenset(
    # CANDELA_HOME shows to which service a process belongs.
    """PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TZDIR TMPDIR CANDELA_HOME CANDELA_LOG_LEVEL
    LD_LIBRARY_PATH LD_PRELOAD DYLD_LIBRARY_PATH VIRTUAL_ENV CONDA_PREFIX CC CXX CPATH LIBRARY_PATH
    GLIBC_TUNABLES THP_MEM_ALLOC_ENABLE MPLCONFIGDIR MPLBACKEND""".split()
)
PREFIXES = tuple(
    """LC_ XDG_ PYTHON MALLOC_ CUDA_ CUDNN_ CUBLAS NVIDIA_ NVRTC_ HIP_ HSA_ ROCR_ MIOPEN_ TORCH PYTORCH_ TRITON_ NCCL_
    GLOO_ OMP_ GOMP_ KMP_ MKL_ OPENBLAS_ BLIS_ VECLIB_ NUMEXPR_ ONEDNN_ DNNL_ ATEN_ ORT_ OPENVINO_ OPENCV_""".split()
)
CREDENTIAL = re.compile(r"KEY|SECRET|PASSW|TOKEN|CREDENTIAL|AUTH|_URL$|_URI$|_DSN$", re.IGNORECASE)
"""Names that may hold a credential, such as NVIDIA_API_KEY. They are not inherited because of their prefix."""


def build_child_environment(parent: Mapping[str, str], extra_names: Collection[str] = ()) -> dict[str, str]:
    """Return the variables of `parent` that a trainer, an import, an inference process or a probe needs.

    Args:
        parent: the variables of this process.
        extra_names: more names to inherit, as the operator has configured in CANDELA_CHILD_VARIABLES.
    """
    return {name: value for name, value in parent.items() if name in extra_names or _is_inherited(name)}


def _is_inherited(name: str) -> bool:
    return name in NAMES or (name.startswith(PREFIXES) and CREDENTIAL.search(name) is None)
