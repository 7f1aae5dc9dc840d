"""What a claim may say: each rule of the schema, broken once, is one exact line."""

import pytest

from anneal.claims.schema import RUN_METRIC_RULE, parse_claims

HERE = "paper/claims/clr.yaml"
SOURCE = {"paper": "1506.01186v6", "at": "Table 1", "confidence": "A"}
COMMON = {"text": "a reaches 81.4 %", "source": SOURCE, "statistic": "single run"}
VALUE = COMMON | {
    "id": "clr/a",
    "kind": "value",
    "metric": "test_accuracy_pct@final",
    "experiments": ["clr/a"],
    "value": 81.4,
    "tolerance": 0.6,
    "tolerance_reason": "seed spread",
}
ORDER = COMMON | {
    "id": "clr/a",
    "kind": "order",
    "metric": "test_error_pct@ensemble_1x3",
    "experiments": ["clr/a", "clr/b"],
    "values": [3.5, 4.0],
    "margin": 0.0,
    "margin_reason": "the order",
}
SPEED = COMMON | {
    "id": "clr/a",
    "kind": "speed",
    "metric": "test_error_pct",
    "experiments": ["clr/a", "clr/b"],
    "target": 4.0,
    "target_tolerance": 0.1,
    "ratio": 0.4,
    "tolerance": 0.1,
    "tolerance_reason": "seed spread",
}
CORRECTION = {"day": "2026-11-28", "what": "read at update 18,000, not 17,000", "why": "the end"}
KINDS = {"value": VALUE, "order": ORDER, "speed": SPEED}
METRIC_WORDS = RUN_METRIC_RULE.words
CURVES = "must be one of test_accuracy_pct, test_loss, test_error_pct"
STATISTICS = (
    "statistic must be 'single run', 'best', 'best of <n>', 'mean of <n>' or 'median of <n>' with "
    "n >= 2, or 'runs not stated'"
)
TWO_OR_ONE = "experiments must name two different experiments, or one whose metrics differ"


def parse_one(kind, changes, without=()):
    entry = {key: value for key, value in (KINDS[kind] | changes).items() if key not in without}
    return parse_claims([entry], where=HERE)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_claim_as_it_should_be_is_read(kind):
    claim = parse_one(kind, {})
    assert (claim.id, claim.kind, claim.seed_sd) == ("clr/a", kind, None)
    assert (claim.role, claim.readings, claim.also, claim.corrections) == ("detail", (), (), ())


@pytest.mark.parametrize("kind", KINDS)
def test_claim_has_a_role_readings_other_sources_and_corrections(kind):
    changes = {
        "role": "headline",
        "readings": ["clr/c", "clr/d"],
        "also": [SOURCE | {"value": 81.2, "note": "the author's log"}],
        "corrections": [CORRECTION],
    }
    claim = parse_one(kind, changes)
    assert (claim.role, claim.readings) == ("headline", ("clr/c", "clr/d"))
    assert (claim.also[0].value, claim.also[0].note) == (81.2, "the author's log")
    assert (claim.corrections[0].day, claim.corrections[0].why) == ("2026-11-28", "the end")


BROKEN = [
    # keys
    ("value", {"tolerence": 0.5}, "unknown key 'tolerence'; did you mean 'tolerance' or "
     "'tolerance_reason'?"),
    ("value", {"source": SOURCE | {"page": 3}}, "unknown key 'source.page'; did you mean 'paper'?"),
    ("value", {"worse_metric": "test_loss@final"}, "unknown key 'worse_metric'; did you mean "
     "'metric'?"),
    ("value", {"source": {"paper": "x", "at": "y"}}, "missing key source.confidence"),
    # kind
    ("value", {"kind": "valeu"}, "kind must be one of value, order, speed, got 'valeu'; did you "
     "mean 'value'?"),
    ("value", {"kind": "trend"}, "kind must be one of value, order, speed, got 'trend'; there is "
     "order, speed, value"),
    # metric
    ("value", {"metric": "test_acuracy_pct@final"}, "metric: unknown metric "
     "'test_acuracy_pct@final'; did you mean 'test_accuracy_pct@final' or "
     "'test_top5_accuracy_pct@final' or 'test_accuracy_pct'?"),
    ("order", {"worse_metric": "test_error_pct@ensemble_1X1"}, "worse_metric: unknown metric "
     "'test_error_pct@ensemble_1X1'; did you mean 'test_error_pct@ensemble_<N>x<M>' or "
     "'test_error_pct@best' or 'test_error_pct@final'?"),
    ("value", {"metric": "test_error_pct"}, f"metric {METRIC_WORDS}, got 'test_error_pct'"),
    ("speed", {"metric": "test_error_pct@final"}, f"metric {CURVES}, got 'test_error_pct@final'"),
    ("value", {"metric": 3}, "metric must be some text, got 3"),
    # source, statistic, id, text, reason
    ("value", {"source": SOURCE | {"confidence": "C"}}, "source.confidence must be one of A, "
     "A-fig, B, D (what is recalled, unverified, is no target), got 'C'"),
    ("value", {"statistic": "mean of 1"}, f"{STATISTICS}, got 'mean of 1'"),
    ("value", {"statistic": "mean of 05"}, f"{STATISTICS}, got 'mean of 05'"),
    ("value", {"text": ""}, "text must be some text, got ''"),
    ("value", {"tolerance_reason": ""}, "tolerance_reason must be some text, got ''"),
    ("value", {"tolerance_reason": "  "}, "tolerance_reason must say why, got '  '"),
    ("order", {"margin_reason": " \n"}, "margin_reason must say why, got ' \\n'"),
    ("speed", {"tolerance_reason": None}, "tolerance_reason must be some text, got None"),
    # numbers
    ("value", {"value": "81.4"}, "value must be a finite number, got '81.4'"),
    ("value", {"value": float("nan")}, "value must be a finite number, got nan"),
    ("value", {"tolerance": 0}, "tolerance must be positive, got 0"),
    ("value", {"seed_sd": -0.3}, "seed_sd must be positive, got -0.3"),
    ("speed", {"ratio": 0}, "ratio must be positive, got 0"),
    ("speed", {"target_tolerance": -1}, "target_tolerance must not be negative, got -1"),
    ("order", {"values": [3.5]}, "values must hold two values, got [3.5]"),
    ("order", {"values": [4.0, 3.5]}, "values must stand in the order that is claimed, the first "
     "better by more than the margin 0, got [4.0, 3.5]"),
    ("order", {"values": [3.5, 3.5]}, "values must stand in the order that is claimed, the first "
     "better by more than the margin 0, got [3.5, 3.5]"),
    # role, readings, other sources, corrections
    ("value", {"role": "main"}, "role must be one of headline, detail, context, got 'main'"),
    ("order", {"readings": "clr/c"}, "readings must be a list, got 'clr/c'"),
    ("value", {"readings": ["clr/c", "clr/c"]}, "readings must name each experiment once, got "
     "['clr/c', 'clr/c']"),
    ("order", {"readings": ["clr/c", "clr/b"]}, "readings must differ from experiments, got "
     "'clr/b'"),
    ("value", {"also": [SOURCE | {"confidence": "C"}]}, "also[0].confidence must be one of A, "
     "A-fig, B, D (what is recalled, unverified, is no target), got 'C'"),
    ("value", {"also": [SOURCE | {"valeu": 3.0}]}, "unknown key 'also[0].valeu'; did you mean "
     "'value'?"),
    ("value", {"also": [SOURCE, SOURCE | {"metric": "test_acuracy_pct@final"}]}, "also[1].metric: "
     "unknown metric 'test_acuracy_pct@final'; did you mean 'test_accuracy_pct@final' or "
     "'test_top5_accuracy_pct@final' or 'test_accuracy_pct'?"),
    ("value", {"also": [SOURCE | {"metric": "test_error_pct"}]}, f"also[0].metric {METRIC_WORDS}, "
     "got 'test_error_pct'"),
    ("value", {"corrections": [CORRECTION | {"day": "28.11.2026"}]}, "corrections[0].day must be "
     "a day as in 2026-11-28, got '28.11.2026'"),
    ("value", {"corrections": [CORRECTION | {"day": "20261128"}]}, "corrections[0].day must be "
     "a day as in 2026-11-28, got '20261128'"),
    ("value", {"corrections": [CORRECTION | {"why": " "}]}, "corrections[0].why must say why, "
     "got ' '"),
    # experiments
    ("value", {"experiments": ["clr/a", "clr/b"]}, "experiments must name one experiment, got "
     "['clr/a', 'clr/b']"),
    ("value", {"experiments": "clr/a"}, "experiments must be a list, got 'clr/a'"),
    ("speed", {"experiments": ["clr/a", "clr/a"]}, "experiments must name two different "
     "experiments, got ['clr/a', 'clr/a']"),
    ("order", {"experiments": ["clr/a", "clr/a"]}, f"{TWO_OR_ONE}, got ['clr/a', 'clr/a']"),
    ("order", {"experiments": []}, f"{TWO_OR_ONE}, got []"),
    ("order", {"experiments": ["clr/a"]}, f"{TWO_OR_ONE}, got ['clr/a']"),
    ("order", {"experiments": ["clr/a"], "worse_metric": ORDER["metric"]},
     f"{TWO_OR_ONE}, got ['clr/a']"),
    ("order", {"worse_metric": "test_accuracy_pct@final"}, "worse_metric must measure "
     "test_error_pct as metric does, got 'test_accuracy_pct@final'"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "changes", "said"), BROKEN)
def test_claim_that_breaks_a_rule_is_one_clear_line(kind, changes, said):
    with pytest.raises(ValueError, match=r".") as error:
        parse_one(kind, changes)
    assert str(error.value) == f"{HERE}: claim 'clr/a': {said}"
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_each_missing_key_is_named(kind):
    for key in KINDS[kind].keys() - {"id", "kind", "values"}:
        with pytest.raises(ValueError, match=r".") as error:
            parse_one(kind, {}, without=[key])
        assert str(error.value) == f"{HERE}: claim 'clr/a': missing key {key}"
    with pytest.raises(ValueError, match=r"claim 'clr/a': missing key kind$"):
        parse_one(kind, {}, without=["kind"])
    with pytest.raises(ValueError, match=rf"^{HERE}: claim number 1: missing key id$"):
        parse_one(kind, {}, without=["id"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sgdr/a", "id must begin with 'clr/', as the file is called"),
        ("clrs/a", "id must begin with 'clr/', as the file is called"),
        ("clr", "id must be lower-case words joined by slashes, the paper first, got 'clr'"),
        ("clr/A", "id must be lower-case words joined by slashes, the paper first, got 'clr/A'"),
    ],
)
def test_id_begins_with_the_name_of_its_file(name, said):
    with pytest.raises(ValueError, match=r".") as error:
        parse_one("value", {"id": name})
    assert str(error.value) == f"{HERE}: claim '{name}': {said}"


def test_id_stands_once():
    with pytest.raises(ValueError, match=r".") as error:
        parse_claims([VALUE, VALUE], where=HERE)
    assert str(error.value) == f"{HERE}: claim 'clr/a': id must be unique, it is here twice"


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"id": "clr/a"}, "must be a list of claims"),
        ([], "must be a list of claims"),
        (None, "must be a list of claims"),
        ([VALUE, "clr/b"], "claim number 2 must be a mapping, got 'clr/b'"),
    ],
)
def test_file_that_is_no_list_of_claims_is_refused(entries, said):
    with pytest.raises(ValueError, match=r".") as error:
        parse_claims(entries, where=HERE)
    assert str(error.value) == f"{HERE}: {said}"


@pytest.mark.parametrize(
    "statistic",
    ["single run", "best", "best of 5", "mean of 5", "median of 16", "mean of 10",
     "runs not stated"],
)  # fmt: skip
def test_papers_own_statistic_is_one_of_a_few(statistic):
    assert parse_one("value", {"statistic": statistic}).statistic == statistic


def test_order_without_numbers_may_compare_cells_of_one_experiment():
    silent = parse_one("order", {}, without=["values"])
    assert silent.values is None
    assert silent.metrics == ("test_error_pct@ensemble_1x3",) * 2
    cells = {"experiments": ["clr/a"], "worse_metric": "test_error_pct@final"}
    assert parse_one("order", cells).metrics == (
        "test_error_pct@ensemble_1x3",
        "test_error_pct@final",
    )
    near = parse_one("order", {"values": [4.1, 4.0], "margin": -0.2})
    assert near.values == (4.1, 4.0)
