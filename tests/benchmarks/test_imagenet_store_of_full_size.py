"""A store of ImageNet's size, its pixels a hole, opens at once and in little memory."""


def test_store_of_full_size_opens_within_a_second_and_200_mb(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    from imagenet import open_full_size

    entries, seconds, mebibytes = open_full_size()
    assert entries == 1_281_167
    assert seconds < 1  # of the processor
    assert 10 < mebibytes < 190  # labels and the order alone are more than 10
