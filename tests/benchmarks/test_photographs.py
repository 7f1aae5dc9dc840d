"""A small network learns made-up photographs; the control is of the same images."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photographs(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import photographs

    return photographs


@pytest.fixture
def tree(tmp_path):
    """Bright and dark noise, 12 training and 6 validation images of each."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6)):
        for label, middle in enumerate((70, 180)):
            (tmp_path / "tree" / split / f"class{label}").mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(rng.normal(middle, 40, (40, 50, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(
                    tmp_path / "tree" / split / f"class{label}" / f"{number}.jpg"
                )
    return tmp_path / "tree"


def test_photographs_are_learnt_and_a_control_is_measured(photographs, tree, capsys):
    true, permuted = photographs.measure(tree, steps=10, seeds=1)
    assert true[:5] == ["tree", "2", "24", "true", "12 of 12"]
    assert float(true[6]) < 1e-3
    assert permuted[:4] == ["tree", "2", "24", "permuted"]
    assert "24 training and 12 validation images of 2 classes" in capsys.readouterr().out


def test_permuted_tree_keeps_counts_and_validation_images(photographs, tree, tmp_path):
    found = photographs.permuted(tree, tmp_path / "permuted")
    assert sorted(p.name for p in (found / "val").glob("*/*")) == sorted(
        p.name for p in (tree / "val").glob("*/*")
    )
    assert [len(list((found / "train" / f"class{n}").iterdir())) for n in (0, 1)] == [12, 12]
    moved = [p for p in (found / "train").glob("*/*") if p.parent.name not in p.name]
    assert 4 <= len(moved) <= 20


def test_chance_of_so_many_right_answers_is_binomial(photographs):
    assert photographs.at_least(0, 5, 0.1) == pytest.approx(1)
    assert photographs.at_least(1, 2, 0.5) == 0.75
