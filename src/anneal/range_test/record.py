"""Record of a finished range test: curves, and the bounds that each rule reads."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anneal.range_test import Agreement, RangeTestCurve, RangeTestPoint, Suggestion
from anneal.range_test.suggestion import Remedy


@dataclass(frozen=True, kw_only=True)
class RangeTestRecord:
    """One range test over all its seeds.

    Args:
        rule: the one that the experiment asks for, a key of ``readings``.
        readings: what each rule says over the seeds.
        curves: by seed.
        dataset: name of the data set.
        model: its architecture.
    """

    rule: str
    readings: Mapping[str, Agreement]
    curves: Mapping[int, RangeTestCurve]
    dataset: str
    model: str


def read_range_test(plain: Mapping[str, Any], *, where: str) -> RangeTestRecord:
    """Read the output of the range_test stage; its curve is in columns under ``curve``.

    Raises:
        ValueError: a key is missing or a curve is none; names the file.
    """
    try:
        return RangeTestRecord(
            rule=plain["rule"],
            readings={rule: _read_agreement(said) for rule, said in plain["agreement"].items()},
            curves={int(seed): _curve(plain, seed) for seed in plain["diverged_at"]},
            dataset=plain["dataset"],
            model=plain["model"],
        )
    except KeyError as error:
        raise ValueError(f"{where}: missing key {error.args[0]}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None


def describe_reading(found: Suggestion | Agreement) -> dict[str, Any]:
    """Return a suggestion as plain data; the key ``remedy`` is present only where it has one."""
    plain = dataclasses.asdict(found)
    if found.remedy is None:
        del plain["remedy"]
    return plain


def _read_agreement(said: Mapping[str, Any]) -> Agreement:
    remedy = Remedy(said["remedy"]) if "remedy" in said else None
    return Agreement(**{**said, "remedy": remedy})


def _curve(plain: Mapping[str, Any], seed: str) -> RangeTestCurve:
    columns = plain["curve"]
    rows = [row for row, of in enumerate(columns["seed"]) if of == int(seed)]
    diverged_at = plain["diverged_at"][seed]
    return RangeTestCurve(
        points=tuple(
            RangeTestPoint(
                update=int(columns["update"][row]),
                lr=columns["lr"][row],
                accuracy_pct=columns["accuracy_pct"][row],
                held_out_loss=columns["held_out_loss"][row],
                train_loss=columns["train_loss"][row],
            )
            for row in rows
        ),
        sweep=plain["sweep"],
        diverged_at=diverged_at,
        diverged_lr=None if diverged_at is None else plain["diverged_lr"][seed],
        num_images=plain["held_out_images"],
    )
