"""Renew the golden losses of this machine: ``python tests/golden/renew.py --changes-numbers``.

They are renewed when a change of code, of ``small_run.yaml`` or of torch is meant to change numbers
(CHANGELOG.md says which), and written once for a processor that has none yet (``--new``). Any other
difference is the bug that they are there to catch, so that without being told it changes nothing.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from anneal.io.files import write_json
from anneal.runs.environment import cpu_name, version
from anneal.runs.hardware import cpu_capability

FOLDER = Path(__file__).parent
THREADS = (1, 2)
NATIVE = "native"
# Instructions that a run may be held to: oneDNN and ATen take no others, whatever is here.
LEVELS = {
    NATIVE: {},
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
}
# Settings of a person's shell that choose other instructions or other numbers of threads.
STEERING = ("ATEN_", "DNNL_", "GOMP_", "KMP_", "MKL_", "OMP_", "ONEDNN_", "OPENBLAS_", "TORCH")

PATIENT = {"OMP_WAIT_POLICY": "passive"}  # a busy machine: 14 s instead of 40, and the same bits


def golden_file(threads: int, level: str = NATIVE, *, folder: Path = FOLDER) -> Path:
    """Return the file of this processor's losses, by number of threads and instructions.

    A processor with AVX2 alone is held to nothing: its native losses are the ones with AVX2.
    """
    held = "" if level in (NATIVE, cpu_capability()) else f"-as-{level}"
    return folder / f"{cpu_capability()}{held}-{threads}-thread{'s' * (threads > 1)}.json"


def made_on() -> dict[str, str | None]:
    """Return what else the bits depend on: vendors' libraries look at the processor's name."""
    return {"cpu": cpu_name(), "torch": version("torch")}


def losses_kept(path: Path) -> tuple[dict[str, list[float]], str | None]:
    """Return golden losses by settings, or why these bits cannot be expected of this processor."""
    if not path.is_file():
        return {}, f"wrong processor: no {path.name} yet, `renew.py --new` beside it writes it"
    kept, here = json.loads(path.read_text()), made_on()
    for what, value in kept["made_on"].items():
        if value != here[what]:
            made = f"{path.name} was made on {what} {value}, this is {here[what]}"
            return {}, f"wrong processor: {made}"
    return kept["losses"], None


def measure(
    thread_counts: Iterable[int], level: str, folder: Path = FOLDER
) -> dict[int, dict[str, list[float]]]:
    """Return the losses by threads and settings, each number of threads in a fresh process."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(STEERING)
    }
    command = [sys.executable, str(folder / "small_run.py")]
    started = {
        threads: subprocess.Popen(
            [*command, str(threads), level],
            env=environment | {"OMP_NUM_THREADS": str(threads)} | PATIENT | LEVELS[level],
            stdout=subprocess.PIPE,
            text=True,
        )
        for threads in thread_counts
    }
    printed = {threads: process.communicate()[0] for threads, process in started.items()}
    for process in started.values():
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, process.args)
    return {threads: json.loads(text.splitlines()[-1]) for threads, text in printed.items()}


def main(folder: Path = FOLDER, levels: Iterable[str] = tuple(LEVELS)) -> None:
    """Write the files that were asked for, or say what to ask."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--new", action="store_true", help="only what this processor does not have")
    asked.add_argument("--changes-numbers", action="store_true", help="replace what is there")
    new = parser.parse_args().new
    measured = [
        (golden_file(threads, level, folder=folder), losses)
        for level in levels
        if level != cpu_capability()
        for threads, losses in measure(THREADS, level, folder).items()
    ]
    for path, losses in measured:
        content = {"made_on": made_on(), "losses": losses}
        if new and path.is_file():
            kept = json.loads(path.read_text())
            if kept["made_on"] != content["made_on"]:
                continue
            content["losses"] = kept["losses"] | {
                settings: found
                for settings, found in losses.items()
                if settings not in kept["losses"]
            }
        write_json(path, content)
        sys.stdout.write(f"wrote {path}\n")


if __name__ == "__main__":
    main()
