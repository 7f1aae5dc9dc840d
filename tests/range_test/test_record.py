import json

import pytest

from anneal.io.csv_files import read_columns
from anneal.range_test import RULES, RangeTestCurve, RangeTestPoint, agreement, suggest
from anneal.range_test.record import describe_reading, read_range_test
from anneal.runs.range_test import sweeps_csv


def swept(num_points, **more):
    points = tuple(
        RangeTestPoint(
            update=12 * i,
            lr=round(0.0005 * i, 4),
            accuracy_pct=10.0 + 3 * i,
            held_out_loss=round(2.25 - i / 20, 2),
            train_loss=None if i == 0 else round(2.5 - i / 20, 2),
        )
        for i in range(num_points)
    )
    return RangeTestCurve(points=points, num_images=288, **more)


CURVES = {0: swept(24), 3: swept(9, diverged_at=101, diverged_lr=0.0044), 5: swept(24)}
READINGS = {r: agreement([suggest(curve)[r] for curve in CURVES.values()]) for r in RULES}


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "curve.csv"
    path.write_text(sweeps_csv(CURVES))
    said = {
        "rule": "smith",
        "agreement": {rule: describe_reading(found) for rule, found in READINGS.items()},
        "dataset": "digits",
        "model": "caffe_cifar",
        "sweep": "linear",
        "held_out_images": 288,
        "diverged_at": {str(seed): curve.diverged_at for seed, curve in CURVES.items()},
        "diverged_lr": {str(seed): curve.diverged_lr for seed, curve in CURVES.items()},
        "curve": read_columns(path),
    }
    return json.loads(json.dumps(said))


def test_curves_and_readings_come_back_as_they_were_measured(plain):
    found = read_range_test(plain, where="digits.json")
    assert found.curves == CURVES
    assert found.readings == READINGS
    assert (found.rule, found.dataset, found.model) == ("smith", "digits", "caffe_cifar")


def test_record_that_is_none_is_refused_by_name(plain):
    for key in plain:
        less = {name: value for name, value in plain.items() if name != key}
        with pytest.raises(ValueError, match=f"^digits.json: missing key {key}$"):
            read_range_test(less, where="digits.json")
    plain["curve"]["lr"][3] = 0.0
    with pytest.raises(ValueError, match=r"^digits\.json: lr must rise"):
        read_range_test(plain, where="digits.json")
