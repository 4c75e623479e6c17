"""How the CPU backend's threads wait for each other; read before the native library is loaded.

libgomp decides once, when it is loaded, how long a thread spins at a barrier before it sleeps.
Short spins make a lone decode up to three times slower, and no length helps beside a busy
neighbour, who is left to llmd.engine.governor. The number here is the shortest that costs nothing
alone; the measurements are in benchmarks/README.md.
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
    return f"spin, then sleep (GOMP_SPINCOUNT={SPIN_COUNT})"
