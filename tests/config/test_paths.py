"""The folders of data, and the seed: read from a configuration."""

from pathlib import Path

import pytest

from anneal.config.paths import Paths
from anneal.config.schema import check_seed


@pytest.mark.parametrize("archives", [None, ""])
def test_section_without_archives_has_none(archives: str | None) -> None:
    found = Paths.from_section({"data": "mine", "archives": archives})
    assert found == Paths(Path("mine"))
    assert found.roots == (Path("mine"),)


def test_archives_of_a_section_are_looked_into_first() -> None:
    found = Paths.from_section({"data": "mine", "archives": "theirs"})
    assert found.roots == (Path("theirs"), Path("mine"))


@pytest.mark.parametrize("seed", [-1, 2**32, True, 1.0, "1", None])
def test_seed_that_is_no_whole_number_in_range_is_refused(seed: object) -> None:
    with pytest.raises(ValueError, match=r"^conf/x.yaml: seed must be a whole number from 0 to"):
        check_seed(seed, where="conf/x.yaml")


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_seed_in_range_is_returned(seed: int) -> None:
    assert check_seed(seed, where="conf/x.yaml") == seed
