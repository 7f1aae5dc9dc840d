"""Renew the kernels' golden losses of this machine: ``renew.py --changes-numbers``, or ``--new``.

The losses are those of the core's small run (``tests/golden``) with ``hardware.kernels=cpu``, for
the native instructions of each processor; the core's ``renew.py`` does the work.
"""

import runpy
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
CORE = FOLDER.parents[3] / "tests/golden/renew.py"

core = runpy.run_path(str(CORE))

if __name__ == "__main__":
    core["main"](FOLDER, levels=("native",))
