"""Measures whether a processor with bf16 instructions is also faster with them.

An Intel processor with AMX multiplies matrices several times faster in bf16 than in fp32. A virtual machine may hide
AMX and leave the instructions of AVX-512 for bf16: such a processor was measured to multiply and to train in bf16 more
slowly than in fp32, see `benchmarks/RESULTS.md`.
"""

import time
from functools import cache

import torch

SIZE = 512
NUM_PRODUCTS = 4


@cache
def is_faster_in_bf16() -> bool:
    """Return whether the CPU multiplies matrices faster in bf16 than in fp32.

    It is measured once per process, in about 10 ms, with torch's current number of threads.
    """
    return _measure_product(torch.bfloat16) < _measure_product(torch.float32)


def _measure_product(dtype: torch.dtype) -> float:
    """Return the CPU seconds of the fastest of a few products of two matrices of (SIZE, SIZE).

    Other processes change the CPU time less than the duration.
    """
    matrix = torch.ones(SIZE, SIZE, dtype=dtype)
    times = []
    for _ in range(NUM_PRODUCTS):  # the first one also prepares oneDNN's kernel
        started_at = time.process_time()
        torch.mm(matrix, matrix)
        times.append(time.process_time() - started_at)
    return min(times)
