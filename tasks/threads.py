"""One thread for every numerical library: parts are what runs in parallel."""

from __future__ import annotations

import os

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def limit_threads() -> None:
    """Has to be called before numpy is imported: its BLAS makes its threads then, and forked children inherit them.

    Two processes with two BLAS threads each on two cores were measured twenty times slower than with one.
    """
    for name in VARIABLES:
        os.environ[name] = "1"
