"""How the CPU backend's threads wait for each other; read before the native library is loaded.

libgomp decides once, when it is loaded, how long a thread spins at a barrier before it sleeps.
The default (300,000 rounds) is quick alone but collapses beside a busy neighbour, because the whole
team burns its time slices waiting for the member that was preempted. benchmarks/README.md has the
measurements behind the number chosen here.
"""

from __future__ import annotations

from collections.abc import MutableMapping

SPIN_COUNT = 100_000


def choose_wait_policy(environ: MutableMapping[str, str]) -> str:
    """Set libgomp's spin count in `environ` unless its owner chose a policy; returns what holds,
    as text for the start-up table. Has an effect only before the first import of llama_cpp.
    """
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        if name in environ:
            return f"{name}={environ[name]} (from the environment)"
    environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)
    return f"short spin, then sleep (GOMP_SPINCOUNT={SPIN_COUNT})"
