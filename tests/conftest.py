"""What every test shares."""

from __future__ import annotations

import os

# Before any numerical library is loaded: small inputs run fastest on one thread.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
# Pictures are written to files; no test opens a window.
os.environ.setdefault("MPLBACKEND", "Agg")

from hypothesis import settings  # noqa: E402

# A deadline measures the machine: the first example may have to import a library.
settings.register_profile("dexterank", deadline=None)
settings.load_profile("dexterank")
