"""Schedules built from YAML sections, with durations in updates and the budget applied."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anneal.config.durations import Clock, parse_duration, to_steps
from anneal.io.text import did_you_mean
from anneal.schedules import SCHEDULES, Schedule


@dataclass(frozen=True, kw_only=True)
class ScheduleBuilder:
    """Build schedules from YAML sections: ``name``, and the arguments of that function.

    An argument ``<x>_steps`` is a duration under the key ``<x>``; the default of ``total`` is the
    length of the run. The budget keeps a schedule's shape: lengths are scaled by the budget
    fraction f, Caffe's ``gamma`` becomes gamma^(1/f) (per update) or, for ``inverse``, gamma / f.
    """

    clock: Clock
    total_steps: int
    budget_fraction: float

    def __call__(self, section: Mapping[str, Any], *, where: str, key: str) -> Schedule:
        """Build the schedule of one section.

        Raises:
            ValueError: names the file, the key and the rule.
        """
        given = dict(section)
        name = str(given.pop("name", None))
        if name not in SCHEDULES:
            raise ValueError(
                f"{where}: {key}.name must be a schedule, got {name!r}"
                f"{did_you_mean(name, SCHEDULES)}"
            )
        parameters = inspect.signature(SCHEDULES[name].build).parameters
        written = {p.removesuffix("_steps"): p for p in parameters}
        for argument in given:
            if argument not in written:
                raise ValueError(
                    f"{where}: unknown key '{key}.{argument}'{did_you_mean(argument, written)}"
                )
        if "total_steps" in parameters and "total" not in given:
            given["total"] = None
        missing = [
            f"{key}.{short}"
            for short, full in written.items()
            if short not in given and parameters[full].default is inspect.Parameter.empty
        ]
        if missing:
            raise ValueError(f"{where}: missing key{'s' * (len(missing) > 1)} {', '.join(missing)}")
        arguments = {
            written[short]: self._argument(name, written[short], value, where, f"{key}.{short}")
            for short, value in given.items()
        }
        try:
            return SCHEDULES[name].build(**arguments)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {key}: {error}") from None

    def _argument(self, name: str, argument: str, value: Any, where: str, key: str) -> Any:
        if argument == "total_steps" and value is None:
            return self.total_steps
        if argument.endswith("_steps"):
            return self._steps(value, f"{where}: {key}")
        if argument == "milestones":
            return [
                self._steps(v, f"{where}: {key}[{i}]")
                for i, v in enumerate(_list(value, f"{where}: {key}"))
            ]
        if argument == "schedule":
            return self(_mapping(value, f"{where}: {key}"), where=where, key=key)
        if argument == "stages":
            return [
                self._stage(_mapping(v, f"{where}: {key}[{i}]"), where, f"{key}[{i}]")
                for i, v in enumerate(_list(value, f"{where}: {key}"))
            ]
        if argument == "gamma" and isinstance(value, int | float) and not isinstance(value, bool):
            if name == "inverse":
                return value / self.budget_fraction
            return value ** (1 / self.budget_fraction) if value > 0 else value
        return value

    def _stage(self, stage: Mapping[str, Any], where: str, key: str) -> tuple[int, Schedule]:
        if set(stage) != {"first", "schedule"}:
            raise ValueError(
                f"{where}: {key} must have the keys first and schedule, got {', '.join(stage)}"
            )
        first = self._steps(stage["first"], f"{where}: {key}.first")
        section = _mapping(stage["schedule"], f"{where}: {key}.schedule")
        return first, self(section, where=where, key=f"{key}.schedule")

    def _steps(self, value: Any, place: str) -> int:
        return convert_duration(value, self.clock, self.budget_fraction, place)


def convert_duration(value: Any, clock: Clock, budget_fraction: float, place: str) -> int:
    """Parse a duration and convert it to updates at this budget.

    Raises:
        ValueError: begins with ``place``, the file and the key.
    """
    try:
        return to_steps(parse_duration(value), clock, budget_fraction=budget_fraction)
    except ValueError as error:
        raise ValueError(f"{place} {error}") from None


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{place} must be a list, got {value!r}")
    return value


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{place} must be a mapping, got {value!r}")
    return value
