"""Layouts of image folders: read right, refused with the rule, or said in one line."""

import os

import pytest
import torch

from anneal.datasets import Paths, identify, load_dataset

NOWHERE = Paths("nowhere")


@pytest.fixture
def draw(draw_image):
    """Write so many images into a folder."""

    def write(folder, count=4):
        for number in range(count):
            draw_image(folder / f"{number}.png", seed=number)

    return write


@pytest.fixture
def one_set(tmp_path, draw):
    """Two classes, not split."""
    for name in ("cat", "dog"):
        draw(tmp_path / "photos" / name)
    return tmp_path / "photos"


@pytest.fixture
def read(configure):
    """Read a folder of images."""

    def load(folder, fraction=0.5, **changes):
        changes |= {"source": "imagefolder", "folder": str(folder), "test_fraction": fraction}
        return load_dataset(configure(**changes), NOWHERE)

    return load


def num_images(data):
    return len(data.train) + len(data.test)


def test_hidden_folders_in_a_class_are_passed_over(one_set, draw, read):
    before = read(one_set).identity
    draw(one_set / "cat" / ".ipynb_checkpoints")
    draw(one_set / "cat" / "deeper" / ".thumbnails")
    assert read(one_set).identity == before


def test_linked_folders_are_followed(one_set, draw, read, tmp_path):
    draw(tmp_path / "elsewhere", 3)
    (one_set / "dog" / "more").symlink_to(tmp_path / "elsewhere")
    (one_set / "owl").symlink_to(tmp_path / "elsewhere")
    data = read(one_set)
    assert data.class_names == ("cat", "dog", "owl")
    assert num_images(data) == 4 + 4 + 3 + 3


def test_link_to_a_folder_above_is_refused(one_set, read):
    (one_set / "dog" / "again").symlink_to(one_set)
    with pytest.raises(ValueError, match="dog/again is a link to a folder that it lies in"):
        read(one_set)


def test_link_to_an_image_that_is_gone_is_refused(one_set, read):
    (one_set / "dog" / "9.png").symlink_to(one_set / "gone.png")
    with pytest.raises(ValueError, match=r"dog/9.png is a link to a file that is not there"):
        read(one_set)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("training", "validation"), ("Train", "Test"), ("train", "valid"), ("TRAIN", "VAL"),
        ("train", "testing"),
    ],
)  # fmt: skip
def test_folders_of_splits_may_be_called(tmp_path, draw, read, train, test):
    for split, count in ((train, 3), (test, 2)):
        for name in ("cat", "dog"):
            draw(tmp_path / split / name, count)
    data = read(tmp_path, None)
    assert data.class_names == ("cat", "dog")
    assert (len(data.train), len(data.test)) == (6, 4)
    with pytest.raises(ValueError, match=rf"test_fraction must be null, .* a {test}/ folder"):
        read(tmp_path, 0.2)


@pytest.fixture
def three_splits(tmp_path, draw):
    """train/, val/ and test/, of different sizes."""
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        for name in ("cat", "dog"):
            draw(tmp_path / split / name, count)
    return tmp_path


def test_of_val_and_test_one_is_to_be_chosen(three_splits, read):
    with pytest.raises(ValueError, match=r"test/ and val/: say .* dataset.test_folder=test"):
        read(three_splits, None)
    assert len(read(three_splits, None, test_folder="val").test) == 2
    assert len(read(three_splits, None, test_folder="test").test) == 4
    with pytest.raises(ValueError, match=r"test_folder: .* no folder 'tset'.*test"):
        read(three_splits, None, test_folder="tset")


def test_test_folder_is_refused_where_there_are_no_splits(one_set, read):
    with pytest.raises(ValueError, match=r"dataset.test_folder must be null, .* no train/ folder"):
        read(one_set, test_folder="val")


def test_two_training_folders_are_refused(three_splits, draw, read):
    draw(three_splits / "training" / "cat")
    with pytest.raises(ValueError, match="train/, training/: which of them is trained on"):
        read(three_splits, None, test_folder="val")


def test_splits_without_classes_or_without_training_are_refused(tmp_path, draw, read):
    draw(tmp_path / "train")
    draw(tmp_path / "val")
    with pytest.raises(ValueError, match="names of splits, without a train/ folder of classes"):
        read(tmp_path)
    for name in ("val", "test"):
        draw(tmp_path / "other" / name / "cat")
    with pytest.raises(ValueError, match="names of splits"):
        read(tmp_path / "other")


def test_folder_beside_the_splits_is_named(three_splits, draw, read, caplog):
    draw(three_splits / "unlabelled")
    read(three_splits, None, test_folder="val")
    assert "not used beside train/: unlabelled/" in caplog.text


@pytest.mark.parametrize("where", ["train", "val"])
def test_stray_image_beside_the_classes_is_named(tmp_path, draw, draw_image, read, caplog, where):
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            draw(tmp_path / split / name)
    draw_image(tmp_path / where / "cover.png", seed=9)
    data = read(tmp_path, None)
    assert data.class_names == ("cat", "dog")
    assert num_images(data) == 16
    assert f"{where}: 1 image beside the classes, not used: cover.png" in caplog.text


def test_class_called_train_may_have_folders_of_its_own(one_set, draw, read):
    draw(one_set / "train")
    draw(one_set / "train" / "steam")
    data = read(one_set)
    assert data.class_names == ("cat", "dog", "train")
    assert num_images(data) == 16


def test_folder_too_high_is_refused_with_the_right_one(one_set, read):
    with pytest.raises(
        ValueError, match=rf"has one class, photos: .* give dataset.folder={one_set}$"
    ):
        read(one_set.parent)


def test_one_class_is_refused_split_or_not(tmp_path, draw, read):
    for folder in ("one", "split/train", "split/val"):
        draw(tmp_path / folder / "cat")
    for folder, fraction in (("one", 0.5), ("split", None)):
        with pytest.raises(ValueError, match=r"has one class, cat: two or more are needed$"):
            read(tmp_path / folder, fraction)


def test_classes_that_hold_equal_folders_are_asked_about(tmp_path, draw, read, caplog):
    for year in ("2023", "2024"):
        for name in ("cat", "dog"):
            draw(tmp_path / year / name)
    read(tmp_path)
    assert "the classes are 2023, 2024, and each holds the folders cat, dog" in caplog.text


def test_classes_without_test_images_are_named(tmp_path, draw, read, caplog):
    for name in ("cat", "dog", "owl"):
        draw(tmp_path / "train" / name)
    draw(tmp_path / "val" / "cat")
    read(tmp_path, None)
    assert "2 of 3 classes have no test image: dog, owl" in caplog.text


def test_class_of_one_image_is_named_as_not_tested(one_set, draw, read, caplog):
    draw(one_set / "owl", 1)
    read(one_set, 0.4)
    assert "1 of 3 classes have no test image: owl" in caplog.text


def test_files_of_a_kind_that_is_not_read_are_named(one_set, read, caplog):
    (one_set / "cat" / "x.HEIC").write_bytes(b"")
    (one_set / "cat" / "notes.txt").write_text("")
    read(one_set)
    assert "1 file of kinds that are not read: x.HEIC" in caplog.text
    assert "notes.txt" not in caplog.text


def test_jfif_files_are_images(one_set, read, draw_image):
    draw_image(one_set / "cat" / "9.jpg", seed=9)
    (one_set / "cat" / "9.jpg").rename(one_set / "cat" / "9.jfif")
    assert num_images(read(one_set)) == 9


def test_ordinary_folder_is_read_without_a_word(one_set, read, caplog):
    read(one_set)
    assert caplog.text == ""


def test_file_name_that_is_not_utf8_is_read(one_set, read):
    before = read(one_set).identity["checksums"]
    (one_set / "cat" / "0.png").rename(one_set / "cat" / os.fsdecode(b"caf\xe9.png"))
    data = read(one_set)
    assert num_images(data) == 8
    assert data.identity["checksums"] != before
    assert data.train.take(torch.arange(len(data.train)))[0].shape[0] == len(data.train)


def test_class_name_that_is_not_utf8_is_refused(one_set, read):
    (one_set / "cat").rename(one_set / os.fsdecode(b"caf\xe9"))
    with pytest.raises(ValueError, match=r"name of a class must be UTF-8, got b'caf\\xe9'"):
        read(one_set)


@pytest.mark.parametrize("name", ["with spaces", "Füße", "写真", "photos(1)", "a=b", "a,b", "[x]"])
def test_folder_may_have_any_name(one_set, read, name):
    before = read(one_set).identity
    assert read(one_set.rename(one_set.with_name(name))).identity == before


def test_tilde_is_the_home_folder(one_set, configure, monkeypatch):
    monkeypatch.setenv("HOME", str(one_set.parent))
    config = configure(source="imagefolder", folder="~/photos", test_fraction=0.5)
    assert identify(config, NOWHERE)["class_names"] == ["cat", "dog"]
