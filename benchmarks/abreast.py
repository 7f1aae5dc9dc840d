"""Runs an hour of a campaign on W cores: one run on W threads, or W runs on one thread each.

python benchmarks/abreast.py [--network caffe] [--rounds 5] [--seconds 4] [--write]

The second is what `anneal grid` does. All processes are started once, and wait; rounds of the two
kinds are interleaved. It prints the median of the ratios within each round: the runs an hour of a
campaign side by side over those of one run after another. --write saves
results/benchmarks/abreast/<device>.json: on a quiet machine only.
"""

import argparse
import os
import re
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from contenders import NETWORKS

from anneal.io.files import write_json
from anneal.runs.environment import describe_environment
from anneal.runs.hardware import usable_cores
from training import FOLDER, WARM_UP_SECONDS, Contender


@contextmanager
def held_to(core: int) -> Iterator[None]:
    """Hold this thread to a core: a process that is started meanwhile keeps it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def start_abreast(network: str, cores: Sequence[int]) -> list[Contender]:
    """Start a process of one thread on each core."""
    started = []
    for core in cores:
        with held_to(core):
            started.append(Contender("ours", network, threads=1))
    return started


def measure(network: str, *, rounds: int, seconds: float) -> tuple[list[float], list[float]]:
    """Return the updates per second of one run on all cores, and of one run on each, together."""
    cores = usable_cores()
    one = Contender("ours", network, threads=len(cores))
    abreast = start_abreast(network, cores)
    alone, together = [], []
    with ThreadPoolExecutor(len(cores)) as asking:
        for number in range(rounds + 1):
            duration = seconds if number else WARM_UP_SECONDS
            rate = one.measure(duration)
            rates = list(asking.map(lambda each: each.measure(duration), abreast))  # noqa: B023
            if number:
                alone.append(rate)
                together.append(sum(rates))
    for process in (one, *abreast):
        process.dismiss()
    for process in (one, *abreast):
        process.wait()
    return alone, together


def main() -> None:
    """Measure, print, and save where it is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--network", default="caffe", choices=NETWORKS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    alone, together = measure(asked.network, rounds=asked.rounds, seconds=asked.seconds)
    ratios = [many / one for one, many in zip(alone, together, strict=True)]
    environment = describe_environment()
    found = {
        "network": asked.network,
        "cores": len(usable_cores()),
        "one_run": round(statistics.median(alone), 1),
        "runs_abreast": round(statistics.median(together), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "environment": environment,
    }
    print(
        f"{asked.network} on {environment['cpu']}, {found['cores']} cores: one run "
        f"{found['one_run']}, a run on each core {found['runs_abreast']} per second together; "
        f"{found['ratio']} times the runs an hour (rounds: {min(ratios):.2f} to {max(ratios):.2f})"
    )
    if asked.write:
        device = re.sub(r"\W+", "-", str(environment["cpu"])).strip("-").lower()
        write_json(FOLDER / "abreast" / f"{device}.json", found)


if __name__ == "__main__":
    main()
