import pytest

from anneal.claims.places import place_named, place_of


@pytest.mark.parametrize(
    ("at", "place"),
    [
        ("Table 1", "Table 1"),
        ("table 3, row 2", "Table 3"),
        ("Table 1 and section 4.1.1", "Table 1"),
        ("section 4.1.1 and Table 1", "Table 1"),
        ("Table 1 and Fig. 4", "Table 1"),
        ("Fig. 4", "Fig. 4"),
        ("Figure 4b", "Fig. 4"),
        ("Tables 1 and 3", "Table 1"),
        ("section 4.2", "section 4.2"),
        ("Sec. 4.2.", "section 4.2"),
        ("Appendix A.2", "appendix A.2"),
        ("Table A1", "Table A1"),
        ("Table IV", "Table IV"),
        ("Table 10", "Table 10"),
        ("README of  the code", "README of the code"),
        ("a comfortable seat", "a comfortable seat"),
    ],
)
def test_place_of_claim_is_table_then_figure_then_section(at, place):
    assert place_of(at) == place


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("table1", "Table 1"),
        ("figure_4", "Fig. 4"),
        ("section4.2", "section 4.2"),
        ("fig2a", "Fig. 2a"),
        ("appendix_a", "appendix A"),
        ("section", None),
        ("figure", None),
        ("cifar10", None),
        ("wrn_zca", None),
        ("table1_extra", None),
    ],
)
def test_a_name_in_an_id_is_a_place_where_it_says_nothing_else(name, place):
    assert place_named(name) == place
