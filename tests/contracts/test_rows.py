"""Every row of a paper against a table written by hand from the papers and their authors' code.

Updates are multiplied out here by hand: 50,000 images in batches of 128 are 391 updates, in batches
of 64 782; 45,000 in batches of 128 are 352; without the last partial batch SGDR's 100,000 are 781
and the 50,000 of wide residual networks 390.
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from anneal.claims.files import load_claims
from anneal.config.compose import compose_campaign, compose_run
from anneal.config.options import options
from anneal.config.schema import ExperimentConfig
from anneal.models import parameter_groups
from anneal.models.registry import OURS
from anneal.runs.plan import Plan, check_plan

ROOT = Path(__file__).resolve().parents[2]
RTOL = 1e-9


pytestmark = pytest.mark.usefixtures("compose_once")  # at the root of the project


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one row trains.

    Args:
        model: architecture.
        data: source, and what is done to its images: Caffe's or Torch's way, copies, first images.
        batch: images in one update; passes: forward passes in one update.
        epoch: updates in one epoch.
        updates: of the run.
        rates: update -> learning rate, by hand; the last update is among them.
        rule: update rule and momentum.
        decay: distinct (rate multiplier, weight decay) of the parameter groups.
        momenta: update -> momentum where it is scheduled.
        arguments: of the network.
    """

    model: str
    data: str
    batch: int
    passes: int = 1
    epoch: int
    updates: int
    rates: dict[int, float]
    rule: str
    decay: set[tuple[float, float]]
    momenta: dict[int, float] | None = None
    arguments: tuple[tuple[str, float], ...] = ()


def drops(rate: float, factor: float, updates: int, *at: int) -> dict[int, float]:
    """Return the rate at 0, on either side of each drop and at the last update."""
    found = {0: rate}
    for number, update in enumerate(at):
        found |= {update - 1: rate * factor**number, update: rate * factor ** (number + 1)}
    return found | {updates - 1: rate * factor ** len(at)}


def both(name: str, row: Row) -> Iterator[tuple[str, Row]]:
    """Yield a CIFAR-10 row and its CIFAR-100 twin."""
    assert "cifar10_" in name
    yield name, row
    yield name.replace("cifar10_", "cifar100_"), replace(row, data=row.data.replace("10", "100", 1))


TORCH = {(1.0, 1e-4)}  # fb.resnet.torch: everything decays
NESTEROV = "sgd nesterov 0.9"


def clr_table_4() -> Iterator[tuple[str, Row]]:
    """Table 4, and DenseNet in Caffe; cycles are a tenth of the run and are read once an epoch."""
    resnet = Row(model="cifar_resnet110", data="cifar10 torch", batch=128, epoch=391,
                 updates=64_124, rates={}, rule=NESTEROV, decay=TORCH)  # fmt: skip
    depth = replace(resnet, model="cifar_sd_resnet110", data="cifar10 torch 45000 overall",
                    epoch=352, updates=176_000)  # fmt: skip
    dense = replace(resnet, model="cifar_densenet40_12", batch=64, epoch=782, updates=234_600)
    for rate in (0.1, 0.2, 0.3):
        rates = drops(rate, 0.1, 64_124, 80 * 391, 121 * 391)
        yield from both(f"clr/cifar10_resnet110_lr_{rate}", replace(resnet, rates=rates))
        rates = drops(rate, 0.1, 176_000, 249 * 352, 374 * 352)
        yield from both(f"clr/cifar10_sd110_lr_{rate}", replace(depth, rates=rates))
        rates = drops(rate, 0.1, 234_600, 149 * 782, 224 * 782)
        yield from both(f"clr/cifar10_densenet40_lr_{rate}", replace(dense, rates=rates))
    # ResNet: half a cycle is 8.2 epochs or floor(3206.2) updates. Read at the start of an epoch:
    # epoch 8 is 3128 of 3206 up; epoch 80 is 31280 = 4 x 6412 + 5632: 780 from the next trough.
    up = 0.1 + 0.2 * 391 / 3206
    rates = {0: 0.1, 390: 0.1, 391: up, 781: up, 3128: 0.1 + 0.2 * 3128 / 3206}
    rates |= {31_280: (0.1 + 0.2 * 780 / 3206) * 0.1, 31_280 + 390: (0.1 + 0.2 * 780 / 3206) * 0.1}
    # epoch 163, the last: 63733 = 9 x 6412 + 6025: 387 from the trough that ends the tenth cycle
    rates |= {64_123: (0.1 + 0.2 * 387 / 3206) * 0.01}
    yield from both("clr/cifar10_resnet110_clr", replace(resnet, rates=rates))
    rates = {0: 0.1, 352: 0.1 + 0.2 / 25, 25 * 352: 0.3, 25 * 352 + 351: 0.3, 50 * 352: 0.1}
    rates |= {249 * 352: (0.1 + 0.2 / 25) * 0.1, 374 * 352: (0.1 + 0.2 * 24 / 25) * 0.01}
    rates |= {175_999: (0.1 + 0.2 / 25) * 0.01}
    yield from both("clr/cifar10_sd110_clr", replace(depth, rates=rates))
    rates = {0: 0.1, 782: 0.1 + 0.1 / 15, 15 * 782: 0.2, 30 * 782: 0.1}
    rates |= {149 * 782: (0.1 + 0.1 / 15) * 0.1, 224 * 782: (0.1 + 0.1 * 14 / 15) * 0.01}
    rates |= {234_599: (0.1 + 0.1 / 15) * 0.01}
    yield from both("clr/cifar10_densenet40_clr", replace(dense, rates=rates))
    caffe = Row(model="caffe_densenet40_12", data="cifar10 caffe", batch=64, epoch=782,
                updates=230_000, rates={}, rule="caffe_nesterov 0.9", decay=TORCH)  # fmt: skip
    for rate in (0.1, 0.2, 0.3):
        rates = drops(rate, 0.1, 230_000, 115_000, 172_500)
        yield f"clr/cifar10_caffe_densenet40_lr_{rate}", replace(caffe, rates=rates)
    rates = {0: 0.1, 11_500: 0.3, 23_000: 0.1, 115_000: 0.01, 172_499: 0.03 - 0.02 / 11_500}
    rates |= {172_500: 0.003, 229_999: (0.1 + 0.2 / 11_500) * 0.01}
    yield "clr/cifar10_caffe_densenet40_clr", replace(caffe, rates=rates)
    small = replace(resnet, model="cifar_resnet20")
    yield "clr/cifar10_resnet20_step", replace(small, rates=drops(0.1, 0.1, 64_124, 31_280, 47_311))
    yield "clr/cifar10_resnet20_fixed", replace(small, rates={0: 0.1, 64_123: 0.1})
    rates = {0: 0.1, 391: up, 64_123: (0.1 + 0.2 * 387 / 3206) * 0.01}
    yield "clr/cifar10_resnet20_clr", replace(small, rates=rates)


HALF = 0.025  # of SGDR's cosines


def sgdr() -> Iterator[tuple[str, Row]]:
    """Table 1 and Figure 6: eta_max 0.05, heavy-ball momentum, 0.001 on weights and scales."""
    row = Row(model="sgdr_wrn28_10", data="cifar10 pixel copies", batch=128, epoch=781,
              updates=156_200, rates={}, rule="sgd 0.9",
              decay={(1.0, 1e-3), (1.0, 0.0)})  # fmt: skip
    schedules = {
        "default_0.1": drops(0.1, 0.2, 156_200, 46_860, 93_720, 124_960),
        "default_0.05": drops(0.05, 0.2, 156_200, 46_860, 93_720, 124_960),
        # 50 epochs are 39050 updates: restarts at 39050, 78100, 117150
        "t0_50": {0: 0.05, 19_525: HALF, 39_050: 0.05, 117_150: 0.05, 136_675: HALF, 156_199: 0.0},
        "t0_100": {0: 0.05, 39_050: HALF, 78_100: 0.05, 117_150: HALF, 156_199: 0.0},
        "t0_200": {0: 0.05, 78_100: HALF, 156_199: 0.0},
        # 1, 3, 7, ..., 127 epochs: the cycle of 128 is cut at 73 of them, (1 + cos(0.57 pi)) / 2
        "t0_1_x2": {0: 0.05, 781: 0.05, 3 * 781: 0.05, 63 * 781: 0.05, 95 * 781: HALF,
                    127 * 781 - 1: 0.0, 127 * 781: 0.05, 156_199: 0.01952},
        # 10, 30, 70, 150 epochs: the cycle of 160 is cut at 50 of them, (1 + cos(0.3125 pi)) / 2
        "t0_10_x2": {0: 0.05, 5 * 781: HALF, 7810: 0.05, 30 * 781: 0.05, 70 * 781: 0.05,
                     110 * 781: HALF, 150 * 781 - 1: 0.0, 150 * 781: 0.05, 156_199: 0.03889},
    }  # fmt: skip
    for key, rates in schedules.items():
        for net in ("28_10", "28_20"):
            made = replace(row, model=f"sgdr_wrn{net}", rates=rates)
            yield from both(f"sgdr/cifar10_wrn{net}_{key}", made)
        if key != "default_0.1" and key != "t0_100":
            yield f"sgdr/cifar10_wrn16_1_{key}", replace(row, model="sgdr_wrn16_1", rates=rates)
    # Figure 6: 390 whole batches in 50,000 images, 100 epochs
    small = replace(row, model="sgdr_wrn28_1", data="cifar10 pixel", epoch=390, updates=39_000)
    for rate in (0.01, 0.025, 0.05, 0.1):
        rates = drops(rate, 0.2, 39_000, 11_700, 23_400, 31_200)
        yield f"sgdr/cifar10_wrn28_1_default_lr_{rate}", replace(small, rates=rates)
    for rate in (0.025, 0.05, 0.1):
        rates = {0: rate, 1950: rate / 2, 3900: rate, 30 * 390: rate, 70 * 390: rate}
        rates |= {38_999: rate * 0.6913}  # 30 of 80 epochs into its cycle
        yield f"sgdr/cifar10_wrn28_1_sgdr_lr_{rate}", replace(small, rates=rates)


def snapshot() -> Iterator[tuple[str, Row]]:
    """Tables 1 and 3: batches of 64; ResNet and WRN 200 epochs, 5 cycles, DenseNet 300 and 6."""
    for net, model, epochs, cycles in (
        ("resnet110", "cifar_resnet110", 200, 5),
        ("wrn32_4", "cifar_wrn32_4", 200, 5),
        ("densenet40", "cifar_densenet40_12", 300, 6),
        ("densenet100_24", "cifar_densenet100_24", 300, 6),
    ):
        updates = {200: 156_400, 300: 234_600}[epochs]
        cycle = {200: 31_280, 300: 39_100}[epochs]  # 40 and 50 epochs
        assert cycle * cycles == updates
        row = Row(model=model, data="cifar10 torch", batch=64, epoch=782, updates=updates, rates={},
                  rule=NESTEROV, decay=TORCH)  # fmt: skip
        half, three_quarters = {200: (99, 149), 300: (149, 224)}[epochs]
        single = drops(0.1, 0.1, updates, half * 782, three_quarters * 782)
        for name in ("single", "nocycle"):
            yield from both(f"snapshot/cifar10_{net}_{name}", replace(row, rates=single))
        if net != "resnet110":
            dropout = replace(row, rates=single, arguments=(("dropout", 0.2),))
            yield from both(f"snapshot/cifar10_{net}_dropout", dropout)
        rates = {0: 0.1, cycle // 2: 0.05, cycle - 1: 0.0}
        once = replace(row, updates=cycle, rates=rates)
        yield from both(f"snapshot/cifar10_{net}_singlecycle", once)
        for rate in (0.1, 0.2):
            rates = {0: rate, cycle // 2: rate / 2, cycle - 1: 0.0, cycle: rate, updates - 1: 0.0}
            yield from both(f"snapshot/cifar10_{net}_snapshot_{rate}", replace(row, rates=rates))
        if net == "densenet40":
            table3 = replace(row, data="cifar100 torch")
            for m, length in ((2, 117_300), (4, 58_650), (6, 39_100), (8, 29_325), (10, 23_460)):
                rates = {0: 0.2, length - 1: 0.0, length: 0.2, updates - 1: 0.0}
                yield f"snapshot/cifar100_densenet40_m{m}", replace(table3, rates=rates)


def snapshot_of_other_images() -> Iterator[tuple[str, Row]]:
    """SVHN, 598,388 images in 9,350 batches, 40 epochs; Tiny ImageNet, 100,000 in 1,563, 150."""
    for images, data, epoch, epochs, cycle_epochs, half, three_quarters in (
        ("svhn", "svhn torch plain 598388", 9_350, 40, 8, 19, 29),
        ("tiny_imagenet", "tiny_imagenet torch", 1_563, 150, 25, 74, 112),
    ):
        updates, cycle = epochs * epoch, cycle_epochs * epoch
        single = drops(0.1, 0.1, updates, half * epoch, three_quarters * epoch)
        for net, model in (
            ("resnet110", "cifar_resnet110"),
            ("wrn32_4", "cifar_wrn32_4"),
            ("densenet40", "cifar_densenet40_12"),
        ):
            row = Row(model=model, data=data, batch=64, epoch=epoch, updates=updates, rates=single,
                      rule=NESTEROV, decay=TORCH)  # fmt: skip
            yield f"snapshot/{images}_{net}_single", row
            yield f"snapshot/{images}_{net}_nocycle", row
            if net != "resnet110":
                dropout = replace(row, arguments=(("dropout", 0.2),))
                yield f"snapshot/{images}_{net}_dropout", dropout
            rates = {0: 0.1, cycle // 2: 0.05, cycle - 1: 0.0}
            once = replace(row, updates=cycle, rates=rates)
            yield f"snapshot/{images}_{net}_singlecycle", once
            for rate in (0.1, 0.2):
                rates = {0: rate, cycle // 2: rate / 2, cycle - 1: 0.0, cycle: rate}
                cycles = replace(row, rates=rates | {updates - 1: 0.0})
                yield f"snapshot/{images}_{net}_snapshot_{rate}", cycles


def super_convergence() -> Iterator[tuple[str, Row]]:
    """1,000 images in 8 passes; piecewise constant 0.35 or one triangle from 0.1 to 3."""

    def bn(fraction: float) -> tuple[tuple[str, float], ...]:
        return (("moving_average_fraction", fraction), ("batches_per_update", 8))

    piecewise = Row(
        model="caffe_resnet56", data="cifar10 caffe mirrored", batch=1000, passes=8, epoch=50,
        updates=80_000, rates=drops(0.35, 0.1, 80_000, 50_000, 70_000), rule="caffe_sgd 0.9",
        decay={(1.0, 1e-4), (2.0, 0.0), (2.0, 1e-4)}, arguments=bn(0.999),
    )  # fmt: skip
    clr = replace(
        piecewise, updates=10_000, arguments=bn(0.95),
        rates={0: 0.1, 2500: 1.55, 5000: 3.0, 7500: 1.55, 9999: 0.1 + 2.9 / 5000},
    )  # fmt: skip
    kinds = {"piecewise": piecewise, "clr": clr}
    name = "super_convergence/cifar10_resnet"
    for kind, row in kinds.items():
        yield from both(f"{name}56_{kind}", row)
        for depth in (20, 110):  # their biases decay
            per_update = {20: (1000, 50), 110: (800, 62)}[depth]
            batch, epoch = per_update  # 500 passes of 100 are 62 whole updates of 8
            made = replace(row, model=f"caffe_resnet{depth}", batch=batch, epoch=epoch,
                           decay={(1.0, 1e-4), (2.0, 1e-4)})  # fmt: skip
            yield f"{name}{depth}_{kind}", made
        for images, epoch in ((40_000, 40), (30_000, 30), (20_000, 20), (10_000, 10)):
            made = replace(row, data=f"cifar10 caffe mirrored {images}", epoch=epoch)
            yield f"{name}56_{kind}_{images}_samples", made
        yield f"{name}56_{kind}_nesterov", replace(row, rule="caffe_nesterov 0.9")
    for updates, fraction in ((6_000, 0.9), (20_000, 0.97)):
        half = updates // 2
        rates = {0: 0.1, half: 3.0, updates - 1: 0.1 + 2.9 / half}
        made = replace(clr, updates=updates, rates=rates, arguments=bn(fraction))
        yield f"{name}56_clr_{updates}_iterations", made
    for top in (1.0, 1.5, 2.0, 2.5, 3.5):
        rates = {0: 0.1, 5000: top, 9999: 0.1 + (top - 0.1) / 5000}
        yield f"{name}56_clr_max_{top}", replace(clr, rates=rates)
    for batch, epoch in ((256, 195), (512, 97), (1536, 32)):  # 1563, 782 and 261 passes by 8
        yield f"{name}56_clr_batch_{batch}", replace(clr, batch=batch, epoch=epoch)
    for momentum in ("0.80", "0.85", "0.95"):
        made = replace(clr, rule=f"caffe_sgd {float(momentum)}")
        yield f"{name}56_clr_momentum_{momentum}", made
    for decay in ("1e-3", "1e-5", "1e-6"):
        value = float(decay)
        made = replace(clr, decay={(1.0, value), (2.0, 0.0), (2.0, value)})
        yield f"{name}56_clr_decay_{decay}", made
    for rule in ("adagrad", "adadelta", "adam"):
        momentum = {"adagrad": "", "adadelta": " 0.0", "adam": " 0.9"}[rule]
        made = replace(piecewise, rule=f"caffe_{rule}{momentum}")
        if rule == "adam":
            made = replace(made, rates=drops(0.0035, 0.1, 80_000, 50_000, 70_000))
        yield f"{name}56_{rule}", made
    one = (("moving_average_fraction", 0.95), ("batches_per_update", 1))  # 125 images, one GPU
    small = {"model": "caffe_resnet20", "decay": {(1.0, 1e-4), (2.0, 1e-4)}, "arguments": one,
             "batch": 125, "passes": 1, "epoch": 400}  # fmt: skip
    yield f"{name}20_piecewise_short", replace(piecewise, **small)  # type: ignore[arg-type]
    as_short = replace(piecewise, updates=10_000, rates=drops(0.35, 0.1, 10_000, 6_250, 8_750))
    yield f"{name}20_piecewise_10000_short", replace(as_short, **small)  # type: ignore[arg-type]
    for short in ("clr_short", "range_test"):
        yield f"{name}20_{short}", replace(clr, **small)  # type: ignore[arg-type]
    rates = {0: 0.1, 4500: 3.0, 9000: 0.1, 9999: 0.001}
    made = replace(clr, rates=rates, **small)  # type: ignore[arg-type]
    yield f"{name}20_1cycle_short", made


def one_cycle() -> Iterator[tuple[str, Row]]:
    """Tables of 1803.09820: 512 images in 4 passes; x4.sh counts epochs * 50000 / 512 updates."""
    own = {(1.0, 1e-4), (2.0, 0.0)}
    wide = Row(model="caffe_wide_resnet32", data="cifar10 caffe mirrored", batch=512, passes=4,
               epoch=97, updates=0, rates={}, rule="caffe_nesterov 0.9", decay=own,
               arguments=(("batches_per_update", 4),))  # fmt: skip
    dense = replace(wide, model="caffe_densenet40_12", decay={(1.0, 1e-4), (2.0, 1e-4)},
                    arguments=(("bias_lr_mult", 2.0), ("batches_per_update", 4)))  # fmt: skip
    hundred = replace(wide, model="caffe_projection_resnet56", data="cifar100 caffe mirrored")
    # epochs: updates, and half, three quarters, seven eighths and 15/16 of them
    steps = {100: (9_765, 4_882, 7_323, 8_544, 9_154), 200: (19_531, 9_765, 14_648, 17_089, 18_310),
             400: (39_062, 19_531, 29_296, 34_179, 36_620),
             800: (78_125, 39_062, 58_593, 68_359, 73_242)}  # fmt: skip
    for prefix, row, rate, all_epochs in (
        ("cifar10_wrn32", wide, 0.1, (100, 200, 400, 800)),
        ("cifar10_densenet40", dense, 0.1, (100, 200, 400)),
        ("cifar100_resnet56", hundred, 0.005, (100, 200, 400)),
    ):
        for epochs in all_epochs:
            updates, *at = steps[epochs]
            rates = drops(rate, 0.316, updates, *at) | {updates - 1: rate * 0.316**5}
            made = replace(row, updates=updates, rates=rates)
            yield f"one_cycle/{prefix}_step_{epochs}_epochs", made
    cycles = {  # epochs: updates; epochs of half a cycle: updates
        25: 2_441, 50: 4_882, 75: 7_324, 100: 9_765, 150: 14_648, 12: 1_171, 22: 2_148, 23: 2_246,
        34: 3_320, 45: 4_394, 70: 6_835,
    }  # fmt: skip
    for prefix, row, momenta, table in (
        ("cifar10_wrn32", wide, (0.95, 0.85),
         ((25, 0.1, 0.5, 12), (50, 0.1, 1.0, 23), (100, 0.1, 1.0, 45))),
        ("cifar10_densenet40", replace(dense, decay={(1.0, 1e-6), (2.0, 1e-6)}), (0.9, 0.85),
         ((50, 0.1, 4.0, 22), (75, 0.1, 4.0, 34), (100, 0.1, 4.0, 45), (150, 0.1, 4.0, 70))),
        ("cifar100_resnet56", hundred, (0.95, 0.85),
         ((25, 0.1, 0.5, 12), (50, 0.1, 0.5, 23), (100, 0.09, 0.9, 45))),
    ):  # fmt: skip
        for epochs, low, high, half in table:
            updates, peak = cycles[epochs], cycles[half]
            made = replace(
                row, updates=updates,
                rates={0: low, peak: high, 2 * peak: low, updates - 1: low / 100},
                momenta={0: momenta[0], peak: momenta[1], 2 * peak: momenta[0],
                         updates - 1: momenta[0]},
            )  # fmt: skip
            yield f"one_cycle/{prefix}_1cycle_{epochs}_epochs", made
    yield from lenet()
    yield from cyclical_momentum()


def lenet() -> Iterator[tuple[str, Row]]:
    """Caffe's lenet_solver and lenet_multistep_solver; 60,000 images in batches of 512 are 118."""
    decay = {(1.0, 5e-4), (2.0, 5e-4)}
    shipped = Row(model="caffe_lenet", data="mnist caffe lenet", batch=512, epoch=118,
                  updates=10_000, rates={}, rule="caffe_sgd 0.9", decay=decay)  # fmt: skip
    rates = {0: 0.01, 1: 0.01 * 1.0001**-0.75, 5_000: 0.01 * 1.5**-0.75,
             9_999: 0.01 * 1.9999**-0.75}  # fmt: skip
    yield "one_cycle/mnist_lenet_inv_85_epochs", replace(shipped, rates=rates)
    rates = drops(0.01, 0.9, 10_000, 5_000, 7_000, 8_000, 9_000, 9_500)
    yield "one_cycle/mnist_lenet_step_85_epochs", replace(shipped, rates=rates)
    cycle = replace(shipped, rule="caffe_nesterov 0.95")
    for epochs, updates, half, low in (  # epochs * 60000 / 512; 5, 12, 23, 40 epochs up
        (12, 1_406, 585, 0.01), (25, 2_929, 1_406, 0.01), (50, 5_859, 2_695, 0.01),
        (85, 9_960, 4_687, 0.02),
    ):  # fmt: skip
        last = updates - 1
        rates = {0: low, half: 10 * low, 2 * half: low, last: low / 100}
        momenta = {0: 0.95, half: 0.8, 2 * half: 0.95, last: 0.95}
        made = replace(cycle, updates=updates, rates=rates, momenta=momenta)
        yield f"one_cycle/mnist_lenet_1cycle_{epochs}_epochs", made


def cyclical_momentum() -> Iterator[tuple[str, Row]]:
    """Caffe's network: 25 epochs of 128, half a cycle 11; ResNet-56: 95 epochs of 512, half 41."""
    ip1 = {(1.0, 0.003), (2.0, 0.003), (1.0, 0.75), (2.0, 0.0)}
    caffe = Row(model="caffe_cifar", data="cifar10 caffe", batch=128, epoch=391, updates=9_765,
                rates={}, rule="caffe_nesterov 0.85", decay=ip1)  # fmt: skip
    resnet = Row(model="caffe_projection_resnet56", data="cifar10 caffe mirrored", batch=512,
                 passes=4, epoch=97, updates=9_277, rates={}, rule="caffe_nesterov 0.85",
                 decay={(1.0, 1e-4), (2.0, 0.0)},
                 arguments=(("batches_per_update", 4),))  # fmt: skip
    for prefix, row, low, high, half, fixed, bottom in (
        ("caffe", caffe, 0.0005, 0.005, 4_296, 0.0005, 0.85),
        ("resnet56", resnet, 0.08, 0.8, 4_003, 0.1, 0.80),  # 4003: as its log has it
    ):
        last = row.updates - 1
        for kind, rates in (
            ("cycle", {0: low, half: high, 2 * half: low, last: low / 100}),
            ("fixed", {0: fixed, last: fixed}),
        ):
            name = f"one_cycle/cifar10_{prefix}_{kind}_momentum_"
            for momentum in ("0.85", "0.90", "0.95"):
                rule = f"caffe_nesterov {float(momentum)}"
                yield f"{name}{momentum}", replace(row, rates=rates, rule=rule)
            momenta = {0: 0.95, half: bottom, 2 * half: 0.95, last: 0.95}
            yield f"{name}0.95_{bottom:.2f}", replace(row, rates=rates, momenta=momenta)
            momenta = {0: 0.9, half: 1.0, last: 0.9}
            yield f"{name}0.90_1.00", replace(row, rates=rates, momenta=momenta)


def baselines() -> Iterator[tuple[str, Row]]:
    """By the recipes of He et al., Huang et al. and Zagoruyko & Komodakis."""
    he = Row(model="cifar_resnet20", data="cifar10 pixel", batch=128, epoch=391, updates=64_000,
             rates=drops(0.1, 0.1, 64_000, 32_000, 48_000), rule="sgd 0.9",
             decay=TORCH)  # fmt: skip
    for depth in (20, 32, 44, 56):
        yield f"baselines/cifar10_resnet{depth}", replace(he, model=f"cifar_resnet{depth}")
    rates = {0: 0.01, 399: 0.01, 400: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01, 48_000: 0.001,
             63_999: 0.001}  # fmt: skip
    warm = replace(he, model="cifar_resnet110", rates=rates)
    yield from both("baselines/cifar10_resnet110", warm)
    clr = dict(clr_table_4())
    yield from both("baselines/cifar10_sd110", clr["clr/cifar10_sd110_lr_0.1"])
    constant = replace(clr["clr/cifar10_sd110_lr_0.1"], arguments=(("death_rate", 0.0),))
    yield from both("baselines/cifar10_constant_depth110", constant)
    dense = clr["clr/cifar10_densenet40_lr_0.1"]
    yield from both("baselines/cifar10_densenet40", dense)
    for growth in (12, 24):
        large = replace(dense, model=f"cifar_densenet100_{growth}")
        yield from both(f"baselines/cifar10_densenet100_{growth}", large)
    caffe = clr["clr/cifar10_caffe_densenet40_lr_0.1"]
    yield "baselines/cifar10_caffe_densenet40", caffe
    # train.lua lowers the rate before epochs 60, 120 and 160, counted from 1: after 59, 119 and 159
    # of 390 updates, without the last partial batch
    wide = Row(model="cifar_wrn28_10", data="cifar10 torch reflect", batch=128, epoch=390,
               updates=78_000, rates=drops(0.1, 0.2, 78_000, 23_010, 46_410, 62_010), rule=NESTEROV,
               decay={(1.0, 5e-4)})  # fmt: skip
    yield from both("baselines/cifar10_wrn28_10", wide)
    dropout = replace(wide, arguments=(("dropout", 0.3),))
    yield from both("baselines/cifar10_wrn28_10_dropout", dropout)
    for net in ("16_8", "40_4"):
        yield from both(f"baselines/cifar10_wrn{net}", replace(wide, model=f"cifar_wrn{net}"))


def imagenet() -> Iterator[tuple[str, Row]]:
    """1,281,167 images: 5,005 batches of 256, 10,010 of 128, 40,037 of 32, 45,757 of 28."""
    alexnet = Row(model="caffe_alexnet", data="imagenet caffe mirrored crop 227", batch=256,
                  epoch=5_005, updates=400_000, rates=drops(0.01, 0.1, 400_000, 180_000, 300_000),
                  rule="caffe_sgd 0.9", decay={(1.0, 5e-4), (2.0, 0.0)})  # fmt: skip
    googlenet = replace(alexnet, model="caffe_googlenet", batch=128, epoch=10_010, updates=420_000,
                        data="imagenet caffe channels mirrored crop 224",
                        rates=drops(0.01, 0.1, 420_000, 180_000, 300_000),
                        decay={(1.0, 2e-4), (2.0, 0.0)})  # fmt: skip
    yield "clr/imagenet_alexnet_fixed", alexnet
    yield "clr/imagenet_googlenet_fixed", googlenet
    # the last update is in the second cycle of the third stage, of half its height, 9,999 and
    # 29,999 updates after its top
    for net, row, high, left in (
        ("alexnet", alexnet, 0.015, 20_001),
        ("googlenet", googlenet, 0.026, 1),
    ):
        rates = {0: 0.01, 30_000: high, 60_000: 0.01, 90_000: (0.01 + high) / 2}
        rates |= {179_999: 0.01 + (high - 0.01) / 4 / 30_000, 180_000: 0.001, 210_000: high / 10}
        rates |= {300_000: 0.0001, 330_000: high / 100}
        rates |= {row.updates - 1: 0.0001 + (high - 0.01) / 100 / 2 * left / 30_000}
        yield f"clr/imagenet_{net}_triangular2", replace(row, rates=rates)
    for updates in (300_000, 460_000):
        rates = {0: 0.01, updates - 1: 0.01 * 0.999995 ** (updates - 1)}
        exp = replace(alexnet, updates=updates, rates=rates)
        yield f"clr/imagenet_alexnet_exp_{updates}", exp
    rates = {0: 0.01, 239_999: 0.01 * 0.99998**239_999}
    yield "clr/imagenet_googlenet_exp", replace(googlenet, updates=240_000, rates=rates)
    for name, row, low, high, gamma, updates, half in (
        ("alexnet_exp_range", alexnet, 0.006, 0.014, 0.999995, 300_000, 30_000),
        ("googlenet_exp_range", googlenet, 0.01, 0.026, 0.99998, 240_000, 30_000),
        ("googlenet_exp_range_stepsize_20000", googlenet, 0.01, 0.026, 0.99998, 240_000, 20_000),
    ):
        last = (low + (high - low) / half) * gamma ** (updates - 1)
        rates = {0: low, half: high * gamma**half, 2 * half: low * gamma ** (2 * half)}
        rates |= {updates - 1: last}
        yield f"clr/imagenet_{name}", replace(row, updates=updates, rates=rates)
    rates = drops(0.01, 0.1, 360_000, 100_000, 200_000, 300_000)
    yield "baselines/imagenet_caffe_alexnet_360000", replace(alexnet, updates=360_000, rates=rates)
    rates = {0: 0.01, 1_800_000: 0.005, 2_399_999: 0.01 * (1 / 2_400_000) ** 0.5}
    quick = replace(googlenet, batch=32, epoch=40_037, updates=2_400_000, rates=rates)
    yield "baselines/imagenet_caffe_googlenet_quick", quick
    torch = Row(model="resnet50", data="imagenet torch plain mirrored crop 224", batch=256,
                epoch=5_005, updates=450_450, rates=drops(0.1, 0.1, 450_450, 220_220, 335_335),
                rule=NESTEROV, decay=TORCH)  # fmt: skip
    yield "snapshot/imagenet_resnet50_single", torch
    for cycles, cycle in ((2, 225_225), (3, 150_150)):
        rates = {0: 0.1, cycle - 1: 0.0, cycle: 0.1, 450_449: 0.0}
        yield f"snapshot/imagenet_resnet50_snapshot_m{cycles}", replace(torch, rates=rates)
    depth = replace(torch, model="resnet152", updates=600_600,
                    rates=drops(0.1, 0.1, 600_600, 150_150, 300_300, 450_450))  # fmt: skip
    yield "baselines/imagenet_constant_depth", depth
    stochastic = replace(depth, arguments=(("drop_path_rate", 0.5),))
    yield "baselines/imagenet_stochastic_depth", stochastic
    yield from one_cycle_on_imagenet()


def one_cycle_on_imagenet() -> Iterator[tuple[str, Row]]:
    """Rates and momenta as the author's logs print them (hyperParam1, Imagenet/results)."""
    resnet = Row(model="resnet50", data="imagenet caffe mirrored crop 230", batch=128, passes=4,
                 epoch=10_009, updates=1_301_170, rates={}, rule="caffe_nesterov 0.9",
                 decay={(1.0, 1e-4)})  # fmt: skip
    inception = replace(resnet, model="inception_resnet_v2", batch=112, epoch=11_439)
    rates = {0: 0.1, 19_999: 0.1, 30_000: 0.094, 60_000: 0.0830584, 473_000: 0.0240958}
    step = replace(resnet, rates=rates | {1_301_169: 0.1 * 0.94**65})
    yield "one_cycle/imagenet_resnet50_step_130_epochs", step
    step = replace(inception, updates=1_143_900, rates=rates | {1_143_899: 0.1 * 0.94**57})
    yield "one_cycle/imagenet_inception_resnet_v2_step_100_epochs", step
    cycle = replace(
        resnet,
        updates=200_000,
        decay={(1.0, 3e-6)},
        rates={0: 0.05, 30_000: 0.35, 60_000: 0.65, 89_500: 0.945, 119_500: 0.742105,
               149_500: 0.426316, 199_500: 5e-5, 199_999: 5e-5},
        momenta={0: 0.95, 30_000: 0.918421, 60_000: 0.886842, 89_500: 0.855789, 119_500: 0.875789,
                 149_500: 0.907368},
    )  # fmt: skip
    yield "one_cycle/imagenet_resnet50_1cycle_20_epochs", cycle
    cycle = replace(
        cycle,
        decay={(1.0, 1e-6)},
        rates={0: 0.05, 29_500: 0.423667, 59_500: 0.803667, 89_500: 0.806667, 119_500: 0.406667,
               179_500: 5e-5, 199_999: 5e-5},
        momenta={29_500: 0.910667, 59_500: 0.870667, 89_500: 0.869333, 149_500: 0.949333},
    )  # fmt: skip
    yield "one_cycle/imagenet_resnet50_1cycle_20_epochs_decay_1e-6", cycle
    cycle = replace(
        inception,
        updates=220_000,
        rates={0: 0.05, 30_000: 0.313889, 60_000: 0.577778, 90_000: 0.841667, 120_000: 0.888889,
               180_000: 0.333333, 219_500: 5e-5, 219_999: 5e-5},
        momenta={0: 0.95, 30_000: 0.947222, 120_000: 0.938889, 219_500: 0.929676},
    )  # fmt: skip
    for decay in ("3e-6", "1e-6"):
        made = replace(cycle, decay={(1.0, float(decay))})
        yield f"one_cycle/imagenet_inception_resnet_v2_1cycle_decay_{decay}", made


def downsampled_imagenet() -> Iterator[tuple[str, Row]]:
    """Ten files with their mirror images, each 2,001 batches of 128: 20,010 updates an epoch."""
    row = Row(model="sgdr_wrn28_10", data="imagenet32 pixel copies 10 files", batch=128,
              epoch=20_010, updates=800_400, rates={}, rule="sgd 0.9",
              decay={(1.0, 1e-3), (1.0, 0.0)})  # fmt: skip
    unmixed = replace(row, data="imagenet32 pixel copies 10 files of classes")
    mixed_rates, unmixed_rates = (0.05, 0.025, 0.01, 0.005), (0.05, 0.015, 0.005)
    for images, made, initial in (
        ("imagenet32", row, mixed_rates), ("imagenet32_permuted", unmixed, unmixed_rates),
    ):  # fmt: skip
        for rate in initial:
            name = f"sgdr/{images}_wrn28_10"
            rates = drops(rate, 0.2, 800_400, 200_100, 400_200, 600_300)
            yield f"{name}_default_lr_{rate}", replace(made, rates=rates)
            rates = {0: rate, 10_005: rate / 2, 20_010: rate, 60_030: rate, 300_150: rate}
            once = replace(made, updates=620_310, rates=rates | {620_309: 0.0})
            yield f"{name}_t0_1_x2_lr_{rate}", once
    for rate in mixed_rates:
        rates = {0: rate, 100_050: rate / 2, 200_100: rate, 600_299: 0.0}
        ten = replace(row, updates=600_300, rates=rates)
        yield f"sgdr/imagenet32_wrn28_10_t0_10_x2_lr_{rate}", ten
    rates = drops(0.01, 0.2, 800_400, 200_100, 400_200, 600_300)
    for side, net in ((16, "20_10"), (32, "28_2"), (32, "28_5"), (32, "28_10"), (64, "36_5")):
        data = f"imagenet{side} pixel copies 10 files"
        made = replace(row, model=f"sgdr_wrn{net}", data=data, rates=rates)
        yield f"baselines/imagenet{side}_wrn{net}", made


TABLE = {
    name: row
    for rows in (
        clr_table_4,
        sgdr,
        snapshot,
        snapshot_of_other_images,
        super_convergence,
        one_cycle,
        baselines,
        imagenet,
        downsampled_imagenet,
    )
    for name, row in rows()
}
SAMPLE = [
    "clr/cifar10_resnet110_clr",
    "clr/cifar100_sd110_lr_0.2",
    "clr/cifar10_caffe_densenet40_clr",
    "sgdr/cifar100_wrn28_20_t0_10_x2",
    "sgdr/cifar10_wrn28_10_default_0.05",
    "snapshot/cifar100_wrn32_4_dropout",
    "snapshot/cifar10_densenet40_snapshot_0.2",
    "snapshot/svhn_wrn32_4_dropout",
    "snapshot/tiny_imagenet_densenet40_snapshot_0.2",
    "clr/imagenet_googlenet_triangular2",
    "one_cycle/imagenet_resnet50_1cycle_20_epochs",
    "sgdr/imagenet32_permuted_wrn28_10_t0_1_x2_lr_0.015",
    "super_convergence/cifar10_resnet56_clr_20000_samples",
    "super_convergence/cifar10_resnet110_piecewise",
    "one_cycle/cifar10_densenet40_1cycle_75_epochs",
    "one_cycle/mnist_lenet_inv_85_epochs",
    "one_cycle/mnist_lenet_1cycle_12_epochs",
    "one_cycle/cifar10_resnet56_fixed_momentum_0.90_1.00",
    "baselines/cifar100_resnet110",
]


@functools.cache
def planned(name: str) -> tuple[ExperimentConfig, Plan]:
    experiment = compose_run([f"experiment={name}"])
    return experiment, check_plan(experiment, where=name)


@functools.cache
def groups_of(model: str, arguments: tuple[tuple[str, float], ...], weight_decay: float) -> set:
    with torch.device("meta"):  # of another library: no multipliers, whatever it is
        network = OURS[model](**dict(arguments)) if model in OURS else torch.nn.Linear(1, 1)
    groups = parameter_groups(network, weight_decay=weight_decay)
    return {(group["lr"], group["weight_decay"]) for group in groups}


def data_of(experiment: ExperimentConfig) -> str:
    """Say what is done to the images in the words of ``Row.data``."""
    dataset = experiment.dataset
    pipeline = (dataset.scale, dataset.subtract, dataset.divide, dataset.crop_padding,
                dataset.order)  # fmt: skip
    words = {
        (255.0, "mean_image", "nothing", 0, "stored"): "caffe",
        (255.0, "channel_mean", "nothing", 0, "stored"): "caffe channels",
        (255 / 256, "nothing", "nothing", 0, "stored"): "caffe lenet",
        (1.0, "channel_mean", "channel_std", 4, "shuffled"): "torch",
        (1.0, "channel_mean", "channel_std", 0, "shuffled"): "torch plain",
        (1.0, "mean_image", "overall_std", 4, "shuffled"): "torch",
        (1.0, "mean_image", "nothing", 4, "shuffled"): "pixel",
    }[pipeline]
    said = [dataset.source, words]
    if words in ("caffe", "caffe channels", "torch plain") and dataset.mirror:
        said.append("mirrored")
    if words in ("torch", "pixel"):
        assert dataset.mirror != dataset.mirrored_copies
    if dataset.mirrored_copies:
        said.append("copies")
    if dataset.files:
        said.append(f"{dataset.files} files")
    if dataset.files_hold:
        said.append(f"of {dataset.files_hold}")
    if dataset.crop:
        said.append(f"crop {dataset.crop}")
    if dataset.first_images:
        said.append(str(dataset.first_images))
    if dataset.divide == "overall_std":
        said.append("overall")
    if dataset.crop_fill == "reflect":
        said.append("reflect")
    left_out = re.match(r"sgdr/|baselines/.*_wrn", experiment.name) is not None
    assert dataset.drop_last == left_out
    return " ".join(said)


def rule_of(experiment: ExperimentConfig) -> str:
    arguments = experiment.optimizer.arguments
    said = [experiment.optimizer.name]
    if arguments.get("nesterov"):
        said.append("nesterov")
    if "momentum" in arguments:
        said.append(str(arguments["momentum"]))
    if "dampening" in arguments:
        assert arguments["dampening"] == 0
    return " ".join(said)


@pytest.mark.parametrize(
    "name",
    [name if name in SAMPLE else pytest.param(name, marks=pytest.mark.slow) for name in TABLE],
)
def test_row_trains_what_was_written_down_by_hand(name: str) -> None:
    experiment, plan = planned(name)
    row = TABLE[name]
    training = experiment.training
    found = {
        "model": experiment.model.architecture,
        "data": data_of(experiment),
        "batch": training.batch_size * training.accumulation,
        "passes": training.accumulation,
        "epoch": plan.steps_per_epoch,
        "updates": plan.total_steps,
        "rule": rule_of(experiment),
        "arguments": tuple(experiment.model.arguments.items()),
        "decay": groups_of(row.model, row.arguments, experiment.optimizer.weight_decay),
    }
    assert found == {key: getattr(row, key) for key in found}
    rates = {update: plan.schedule(update) for update in row.rates}
    # a cosine's last update is just above its minimum; 1e-4 of a rate where it was read to 3 digits
    # and of a log to 6
    loose = any(part in name for part in ("sgdr/", "snapshot/", "one_cycle/imagenet"))
    assert rates == pytest.approx(row.rates, rel=5e-3 if loose else RTOL, abs=2e-6 if loose else 0)
    assert max(row.rates) == plan.total_steps - 1
    assert (plan.momentum is None) == (row.momenta is None)
    if plan.momentum is not None and row.momenta is not None:
        momenta = {update: plan.momentum(update) for update in row.momenta}
        assert momenta == pytest.approx(row.momenta, rel=1e-5 if "/imagenet" in name else RTOL)


def test_table_has_every_row_of_these_papers() -> None:
    prefixes = ("sgdr/", "snapshot/", "super_convergence/", "one_cycle/", "baselines/")
    residual = re.compile(r"clr/(.*_(resnet110|resnet20|sd110|densenet40)_|imagenet.*(?<!_test)$)")
    there = {n for n in options("experiment") if n.startswith(prefixes) or residual.match(n)}
    signals = {n for n in there if re.search(r"/(eeg|hgd)", n)}  # no image, no epoch of 391 updates
    assert there - signals == TABLE.keys()


def test_every_row_is_in_a_campaign() -> None:
    listed = set()
    for name in options("campaign"):
        campaign = compose_campaign(name).campaign
        listed |= {*campaign.experiments, *(t.experiment for t in campaign.range_tests.values())}
    assert TABLE.keys() - listed == set()


def test_papers_numbers_of_runs_are_the_campaigns() -> None:
    table_1 = compose_campaign("sgdr_table1_cifar10")
    seeds = {name: len(table_1.seeds_of(name)) for name in table_1.campaign.experiments}
    assert {n for name, n in seeds.items() if "28_10" in name} == {5}
    assert {n for name, n in seeds.items() if "28_20" in name} == {2}
    snapshots = compose_campaign("snapshot_table1_cifar100")
    for name in snapshots.campaign.experiments:
        cycles = 5 if "resnet110" in name or "wrn32" in name else 6
        expected = cycles if name.endswith("singlecycle") else 1
        assert len(snapshots.seeds_of(name)) == expected, name
    assert len(compose_campaign("sgdr_table2").seeds) == 16
    assert len(compose_campaign("one_cycle").seeds) == 4
    assert len(compose_campaign("one_cycle_mnist").seeds) == 4
    assert len(compose_campaign("clr_table4_cifar10").seeds) == 5


def test_both_rows_of_a_speed_claim_are_looked_at_equally_often():
    """The first touch of a target comes sooner to the row that is looked at more often."""
    pairs = [c.experiments for c in load_claims(ROOT / "paper/claims") if c.kind == "speed"]
    here = [pair for pair in pairs if {*pair} <= {*options("experiment")}]
    assert len(here) > 8
    for pair in here:
        rows = [planned(name) for name in pair]
        one, other = (plan.total_steps / row.training.evaluations for row, plan in rows)
        assert one == pytest.approx(other, rel=0.01), pair
