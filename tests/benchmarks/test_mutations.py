"""What benchmarks/mutations.py counts as a crash."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda: time.sleep(10), "hung 0 s"),
        (lambda: {}["key"], "KeyError"),
        (lambda: Path("left").touch(), "/left']"),
        (lambda: (_ for _ in ()).throw(ValueError("one line")), None),
    ],
    ids=["hang", "crash", "file", "refusal"],
)
def test_reading_that_hangs_crashes_or_leaves_a_file_counts(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, read, said
) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import mutations

    (tmp_path / "file").write_text("a word")
    target = SimpleNamespace(
        kind="file", weight=1, files=(tmp_path / "file",), is_text=True, read=read
    )
    monkeypatch.setattr(mutations, "make_targets", lambda _: [target])
    monkeypatch.setattr(mutations, "MOST_SECONDS", 0.3)
    tally = mutations.run(tmp_path, inputs=1, seed=0)
    assert [said in crash for crash in tally.crashes] == ([True] if said else [])
    assert (tmp_path / "file").read_text() == "a word"
