"""Our trainer against a plain loop, against timm's loader and against what the machine can do.

python benchmarks/training.py [--networks caffe resnet20] [--only NAME ...] [--rounds 5]
                              [--seconds 2] [--threads N] [--write]
python benchmarks/training.py --against ../before [--networks caffe] [--rounds 9]
python benchmarks/training.py --page

Each contender runs in a process of its own, so that none profits from the settings of another. The
rounds are interleaved, so that a machine that slows down slows all. It prints medians over rounds;
a ratio is the median of the ratios within each round. The cost of schedule, logging, progress and
tracking is measured by leaving them out in rounds of one process: more rounds, each as long as the
distance of two lines of the history. Their interval is that of the median over rounds, 95 %.
--against measures ours beside ours of another checkout: `git worktree add ../before <commit>`.
--write saves results/benchmarks/<device>.json and renews the page's block: on a quiet machine only.
--page renews the block from the saved results without measuring.
"""

import argparse
import contextlib
import json
import math
import os
import pty
import re
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from contenders import (
    APART,
    CONTENDERS,
    CONVOLUTIONS,
    EVERY,
    IN_MEMORY,
    NETWORKS,
    PLAIN,
    PRODUCTS,
    contenders_of,
)
from plain_loop import small_network
from scipy.stats import quantile_test
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from anneal.io.files import read_json, write_json, write_whole
from anneal.io.text import markdown_table
from anneal.runs.environment import describe_environment
from anneal.runs.hardware import num_cores

FOLDER = Path("results/benchmarks")
PAGE = Path("docs/benchmarks.md")
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
PATIENCE_SECONDS = 20.0  # with a process that is to end
KEPT_BYTES = 4096  # of what a contender says, for the message when it ends early
WARM_UP_SECONDS = 0.5  # of a round before the first that counts
TAKEN_APART = ("caffe",)  # where an update is short enough for the rest of it to count
MORE_ROUNDS = 15  # for each of the others, where parts are left out

Rates = dict[str, list[float]]  # contender -> what it did per second, round by round


class Contender:
    """A process that waits for the signal to run a round."""

    def __init__(
        self, name: str, network: str, *, threads: int, checkout: Path | None = None
    ) -> None:
        self.name = name if checkout is None else f"{name} of {checkout.name}"
        program, environment = Path(__file__).with_name("contenders.py"), {"TERM": "xterm"}
        if checkout is not None:
            program = checkout / "benchmarks" / "contenders.py"
            environment["PYTHONPATH"] = str(checkout / "src")
        command = [sys.executable, str(program)]
        here, there = pty.openpty()  # progress is shown on terminals alone
        self._process = subprocess.Popen(
            [*command, name, network, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=there,
            cwd=checkout,
            env=os.environ | environment,
            text=True,
        )
        os.close(there)
        self._said = b""
        self._listener = threading.Thread(target=self._listen, args=(here,), daemon=True)
        self._listener.start()
        self._read()

    def measure(self, seconds: float, *more: object) -> float:
        """Run one round of about so many seconds; return what was done per second.

        Args:
            seconds: the shortest.
            more: the fewest updates, and parts to leave out.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, (seconds, *more))) + "\n")
        self._process.stdin.flush()
        return float(self._read())

    def dismiss(self) -> None:
        """Let the process end by itself: nobody asks any more."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait(self) -> None:
        """Wait until the process has ended; after a while, end it."""
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listen(self, terminal: int) -> None:
        """Take what is written to the terminal, so that no write waits; keep its end."""
        with contextlib.suppress(OSError):  # nobody holds the other side any more
            while said := os.read(terminal, 65536):
                self._said = (self._said + said)[-KEPT_BYTES:]
        os.close(terminal)

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._listener.join(PATIENCE_SECONDS)
            said = self._said.decode(errors="replace").strip().splitlines()
            raise SystemExit(f"{self.name} ended: {said[-1] if said else 'without output'}")
        return json.loads(line)


def measure(
    network: str,
    names: Sequence[str],
    *,
    rounds: int,
    seconds: float,
    threads: int,
    against: Path | None = None,
) -> Rates:
    """Measure contenders on one network, the rounds interleaved."""
    with started(network, names, threads=threads, against=against) as contenders:
        rates: Rates = {one.name: [] for one in contenders}
        for one in contenders:
            one.measure(min(seconds, WARM_UP_SECONDS))
        for number in range(rounds):
            for one in contenders:
                rates[one.name].append(one.measure(seconds))
            print(f"  {network}: round {number + 1} of {rounds}", file=sys.stderr)
    return rates


def take_apart(network: str, *, rounds: int, threads: int) -> Rates:
    """Measure ours whole and with parts left out, in interleaved rounds of one process."""
    rates: Rates = {name: [] for name in APART}
    with started(network, ["ours"], threads=threads) as (ours,):
        ours.measure(WARM_UP_SECONDS)
        for _ in range(rounds):
            for name, left_out in APART.items():
                rates[name].append(ours.measure(0.0, EVERY, *left_out))
    return rates


@contextlib.contextmanager
def started(
    network: str, names: Sequence[str], *, threads: int, against: Path | None = None
) -> Iterator[list[Contender]]:
    """Start contenders, and ours of another checkout; let them end."""
    contenders: list[Contender] = []
    try:
        for name in names:
            print(f"  {network}: starting {name}", file=sys.stderr)
            contenders.append(Contender(name, network, threads=threads))
        if against is not None:
            contenders.append(Contender("ours", network, threads=threads, checkout=against))
        yield contenders
    finally:
        for one in contenders:
            one.dismiss()
        for one in contenders:
            one.wait()


def flops_per_image(network: str) -> float:
    """Count the floating-point operations of one training step, forward and back, per image."""
    model, count = small_network(NETWORKS[network].architecture), 2
    images, labels = torch.randn(count, 3, 32, 32), torch.zeros(count, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        functional.cross_entropy(model(images), labels).backward()
    return counter.get_total_flops() / count


def ratio(rates: Rates, name: str, other: str) -> float:
    """Return the median over rounds of one contender's rate over another's in the same round."""
    return statistics.median(a / b for a, b in zip(rates[name], rates[other], strict=True))


def share_of_time(rates: Rates, name: str) -> list[float | None]:
    """Return the share of an update of ours that ``name`` leaves out: median, and its interval.

    An end is None where the rounds are too few for a 95 % interval, which takes six.
    """
    rounds = [1 - a / b for a, b in zip(rates["ours"], rates[name], strict=True)]
    ends = quantile_test(rounds, p=0.5).confidence_interval(confidence_level=0.95)
    return [
        round(value, 4) if math.isfinite(value) else None
        for value in (statistics.median(rounds), ends.low, ends.high)
    ]


def summarise(network: str, rates: Rates, flops: float, apart: Rates) -> dict[str, Any]:
    """Return what the rounds of one network say.

    Args:
        network: a key of ``NETWORKS``.
        rates: images/s of trainers, FLOP/s of matrix products.
        flops: of one training step, per image.
        apart: images/s of ours, whole and with parts left out, in rounds of their own.

    Returns:
        ``rates`` (medians), and where their contenders ran ``ratio_to_plain`` (to the faster plain
        loop), ``convolutions_to_plain`` (of the convolutions alone, to the same),
        ``ratio_to_timm``, ``ratio_to_memory``, ``share_of_<product>`` and ``left_out``: of each
        contender in ``apart`` the share of an update that it does without, with the interval.
    """
    medians = {name: statistics.median(found) for name, found in rates.items()}
    found: dict[str, Any] = {
        "network": NETWORKS[network].architecture,
        "batch": NETWORKS[network].batch,
        "flops_per_image": round(flops),
        "rounds": len(next(iter(rates.values()))),
        "rates": {name: float(f"{rate:.4g}") for name, rate in medians.items()},
    }
    if "ours" not in rates:
        return found
    ran = [name for name in PLAIN if name in rates]
    if ran:
        fastest = max(ran, key=medians.__getitem__)
        found["fastest_plain"] = fastest
        found["ratio_to_plain"] = round(ratio(rates, "ours", fastest), 3)
        if CONVOLUTIONS in rates:
            found["convolutions_to_plain"] = round(ratio(rates, CONVOLUTIONS, fastest), 3)
    if "timm's loader" in rates:
        found["ratio_to_timm"] = round(ratio(rates, "ours", "timm's loader"), 3)
    if IN_MEMORY in rates:
        found["ratio_to_memory"] = round(ratio(rates, "ours", IN_MEMORY), 3)
    for product in PRODUCTS:
        if product in rates:
            share = flops * ratio(rates, "ours", product)
            found[f"share_of_{product.replace(' ', '_')}"] = round(share, 4)
    if apart:
        found["rounds_apart"] = len(apart["ours"])
        found["left_out"] = {name: share_of_time(apart, name) for name in apart if name != "ours"}
    return found


def table(found: Mapping[str, Any]) -> str:
    """Return the rates of one network as a Markdown table."""
    flops = found["flops_per_image"]
    rows = []
    for name, rate in found["rates"].items():
        if name in PRODUCTS:
            rows.append([name, "", f"{rate / 1e9:,.0f}", ""])
        else:
            against = rate / found["rates"]["ours"] if "ours" in found["rates"] else None
            shown = "" if against is None else f"{against:.2f}"
            rows.append([name, f"{rate:,.0f}", f"{rate * flops / 1e9:,.0f}", shown])
    header = ["contender", "images/s", "GFLOP/s", "to ours"]
    return markdown_table(header, rows, sides=["left", "right", "right", "right"])


def sentences(found: Mapping[str, Any]) -> list[str]:
    """Return the ratios and shares below the table of one network."""
    said = []
    if (times := found.get("ratio_to_plain")) is not None:
        said.append(f"{times:.2f} times the {found['fastest_plain']} loop")
    if (times := found.get("convolutions_to_plain")) is not None:
        said.append(f"{times:.2f} times that loop: the convolutions alone, an upper bound")
    if (times := found.get("ratio_to_timm")) is not None:
        said.append(f"{times:.2f} times the same step from timm's loader")
    if (times := found.get("ratio_to_memory")) is not None:
        said.append(f"{times:.2f} times the {IN_MEMORY}")
    said += [
        f"{share:.1%} of the {product.split()[1]} matrix-product rate"
        for product in PRODUCTS
        if (share := found.get(f"share_of_{product.replace(' ', '_')}")) is not None
    ]
    for name, (share, low, high) in found.get("left_out", {}).items():
        interval = "" if low is None else f" ({low:.1%} to {high:.1%})"
        said.append(f"{share:.1%}{interval} of an update is what {name} leaves out")
    return said


def report(result: Mapping[str, Any]) -> str:
    """Return all that was measured on one machine, as Markdown."""
    environment, parts = result["environment"], []
    machine = environment["gpu"] or environment["cpu"]
    parts.append(
        f"{machine}, {environment['cpu_capability']}, {result['threads']} threads, torch "
        f"{environment['versions']['torch']}, {environment['started'][:10]}, commit "
        f"{environment['commit']}; medians of {result['rounds']} interleaved rounds of "
        f"{result['seconds']:g} s each."
    )
    for found in result["networks"].values():
        size = f"{found['flops_per_image'] / 1e6:,.1f} MFLOP an image"
        parts += [f"**{found['network']}** ({size}, batches of {found['batch']})"]
        parts += [table(found)]
        if lines := sentences(found):
            parts += ["\n".join(f"- {line}" for line in lines)]
    return "\n\n".join(parts)


def device_name(environment: Mapping[str, Any]) -> str:
    """Return the machine's name as a file's."""
    name = environment["gpu"] or environment["cpu"]
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def renew_page(text: str, results: Sequence[Mapping[str, Any]]) -> str:
    """Return the page's text with every machine's measurements between the two marks.

    Raises:
        ValueError: the marks are not there once each.
    """
    if (text.count(BEGIN), text.count(END)) != (1, 1):
        raise ValueError(f"{PAGE}: must have {BEGIN} and {END} once each")
    before, rest = text.split(BEGIN)
    body = "\n\n".join(map(report, results))
    return f"{before}{BEGIN}\n{body}\n{END}{rest.split(END)[1]}"


def save_page() -> None:
    """Renew the page's block from the saved results of every machine."""
    machines = [read_json(path) for path in sorted(FOLDER.glob("*.json"))]
    write_whole(PAGE, renew_page(PAGE.read_text(), machines))


def compare(network: str, arguments: argparse.Namespace) -> None:
    """Print how fast ours is against ours of another checkout, with the interval of the median."""
    rates = measure(
        network,
        ["ours"],
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        threads=arguments.threads,
        against=arguments.against,
    )
    here, there = rates.values()
    rounds = [a / b for a, b in zip(here, there, strict=True)]
    ends = quantile_test(rounds, p=0.5).confidence_interval(confidence_level=0.95)
    print(
        f"{network}: {statistics.median(rounds):.3f} times ours of {arguments.against.name} "
        f"({ends.low:.3f} to {ends.high:.3f}), {len(rounds)} rounds of {arguments.seconds:g} s, "
        f"{arguments.threads} threads"
    )


def main() -> None:
    """Measure and print; with ``--write`` save the results and renew the page's block."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--only", nargs="+", choices=CONTENDERS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=num_cores())
    parser.add_argument("--against", type=lambda word: Path(word).resolve(strict=True))
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--page", action="store_true")
    arguments = parser.parse_args()
    if arguments.page:
        save_page()
        return
    if arguments.against:
        for network in arguments.networks:
            compare(network, arguments)
        return
    result = {
        "environment": describe_environment(),
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "networks": {},
    }
    how = {"threads": arguments.threads}
    for network in arguments.networks:
        names = arguments.only or contenders_of(network)
        rates = measure(network, names, rounds=arguments.rounds, seconds=arguments.seconds, **how)
        apart: Rates = {}
        if network in TAKEN_APART and not arguments.only:
            apart = take_apart(network, rounds=arguments.rounds * MORE_ROUNDS, **how)
        found = summarise(network, rates, flops_per_image(network), apart)
        result["networks"][network] = found
    print(report(result))
    if arguments.write:
        write_json(FOLDER / f"{device_name(result['environment'])}.json", result)
        save_page()


if __name__ == "__main__":
    main()
