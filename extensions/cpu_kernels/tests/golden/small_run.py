"""Print the losses of the core's small run with kernels: ``small_run.py <threads> native``."""

import json
import runpy
import sys
from pathlib import Path

CORE = Path(__file__).resolve().parents[4] / "tests/golden/small_run.py"
# The kernels round less often in bf16 than in the plain layers: one precision is enough.
SETTINGS = {
    "bf16 kernels": {
        "precision": "bf16",
        "memory_format": "channels_last",
        "compile": "off",
        "kernels": "cpu",
    }
}

if __name__ == "__main__":
    losses_of_small_run = runpy.run_path(str(CORE))["losses_of_small_run"]
    measured = {
        name: losses_of_small_run(threads=int(sys.argv[1]), settings=settings)
        for name, settings in SETTINGS.items()
    }
    sys.stdout.write(json.dumps(measured, allow_nan=False) + "\n")
