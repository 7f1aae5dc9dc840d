"""Kills of a preparation and of a training from its store leave the bytes of a run never killed."""

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def store_kills(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import store_kills

    return store_kills


def test_killed_preparation_and_training_end_in_the_same_bytes(store_kills):
    tally = store_kills.kill_both(2, images=130, seed=0)
    assert tally.differences == []
    assert tally.kills.total() == 4
    assert "0 differences from one that was never killed" in tally.table()


def test_store_that_differs_is_told(store_kills, tmp_path, monkeypatch):
    source = store_kills.write_source(tmp_path / "source", images=12)
    states = iter(["reference", "killed"])
    monkeypatch.setattr(store_kills, "files_of", lambda _: {"train.u8": next(states).encode()})
    tally = store_kills.Tally()
    draw = store_kills.random.Random(0)
    store_kills.kill_preparations(source, tmp_path, 0, draw, tally)
    assert tally.differences == ["store 1: its files differ"]


@pytest.mark.parametrize(
    ("left", "said"),
    [
        ((), "before the first chunk was done"),
        ((".train.unfinished.npz",), "training images"),
        ((".train.unfinished.npz", ".val.unfinished.npz"), "validation images or the end"),
        (("identity.json",), "validation images or the end"),
    ],
)
def test_kill_is_counted_where_the_preparation_was(store_kills, tmp_path, left, said):
    for name in left:
        (tmp_path / name).touch()
    assert store_kills.progress(tmp_path) == said
