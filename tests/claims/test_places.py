import pytest

from anneal.claims.places import place_named


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
