"""How the processor's threads wait (edge)."""

import os


def let_idle_threads_sleep() -> None:
    """Ask OpenMP, before torch is loaded, to let threads without work sleep rather than spin.

    Two spinning programs on the same cores slow each other several times over.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
