import io
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anneal.datasets import (
    Paths,
    TrainingBatches,
    identify,
    imagefolder,
    jpeg,
    load_dataset,
    statistics_of,
)
from anneal.datasets.image_data import DecodedSplit, Split
from anneal.datasets.imagenet.pixels import decode

NOWHERE = Paths(Path("nowhere"))


@pytest.fixture
def photos(tmp_path, draw_image):
    """Two classes with train/ and val/, JPEG and PNG, one a folder deeper."""
    folder = tmp_path / "photos"
    for number in range(5):
        draw_image(folder / "train" / "cat" / f"{number}.png", seed=number)
        draw_image(folder / "train" / "dog" / "deeper" / f"{number}.JPG", seed=10 + number)
    for number in range(2):
        draw_image(folder / "val" / "cat" / f"{number}.jpeg", seed=20 + number)
        draw_image(folder / "val" / "dog" / f"{number}.png", seed=30 + number)
    (folder / "train" / "cat" / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture
def one_set(tmp_path, draw_image):
    """Three classes of four images, not split."""
    folder = tmp_path / "one_set"
    for number in range(12):
        draw_image(folder / "abc"[number % 3] / f"{number}.png", seed=number)
    return folder


@pytest.fixture
def of_photos(photos, configure):
    return configure(source="imagefolder", folder=str(photos))


@pytest.fixture
def of_one_set(one_set, configure):
    return configure(source="imagefolder", folder=str(one_set), test_fraction=0.25)


def test_train_and_val_folders_become_the_splits(of_photos, photos):
    data = load_dataset(of_photos, NOWHERE)
    assert data.class_names == ("cat", "dog")
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == (
        [0] * 5 + [1] * 5,
        [0, 0, 1, 1],
    )
    assert data.image_shape == (3, 10, 12)
    first = np.asarray(Image.open(photos / "train" / "cat" / "0.png")).transpose(2, 0, 1)
    assert torch.equal(data.train.take(torch.tensor([0]))[0][0], torch.from_numpy(first.copy()))


def test_test_folder_stands_for_a_val_folder(of_photos, photos):
    (photos / "val").rename(photos / "test")
    assert len(load_dataset(of_photos, NOWHERE).test) == 4


def test_one_set_is_split_by_its_seed_with_every_class_in_both(of_one_set, configure):
    data = load_dataset(of_one_set, NOWHERE)
    assert data.train.labels.bincount().tolist() == [3, 3, 3]
    assert data.test.labels.bincount().tolist() == [1, 1, 1]
    tests = {
        identify(
            configure(
                source="imagefolder", folder=of_one_set.folder, test_fraction=0.25, split_seed=seed
            ),
            NOWHERE,
        )["checksums"]["content"]
        for seed in range(5)
    }
    assert len(tests) > 1


def test_class_may_be_called_train(one_set, of_one_set):
    (one_set / "a").rename(one_set / "train")
    assert load_dataset(of_one_set, NOWHERE).class_names == ("b", "c", "train")


def test_identity_is_that_of_what_is_loaded_and_names_no_place(of_photos, photos):
    data = load_dataset(of_photos, NOWHERE)
    assert data.identity == identify(of_photos, NOWHERE)
    assert data.identity["splits"]["train"] == {"num_images": 10, "images_per_class": [5, 5]}
    assert str(photos.parent) not in json.dumps(data.identity)


def test_identity_survives_a_move_and_changes_with_one_pixel(
    of_photos, photos, configure, draw_image
):
    before = identify(of_photos, NOWHERE)
    moved = photos.rename(photos.with_name("elsewhere"))
    of_moved = configure(source="imagefolder", folder=str(moved))
    assert identify(of_moved, NOWHERE) == before
    draw_image(moved / "val" / "dog" / "1.png", seed=99)
    assert identify(of_moved, NOWHERE) != before


def test_images_above_memory_limit_are_decoded_into_identical_batches(of_photos, configure):
    changes = {
        "source": "imagefolder",
        "folder": of_photos.folder,
        "image_size": 8,
        "subtract": "mean_image",
        "crop_padding": 1,
        "mirror": True,
        "order": "shuffled",
    }
    roomy = load_dataset(configure(**changes), NOWHERE)
    tight = load_dataset(configure(**changes, memory_gib=1e-9), NOWHERE)
    assert isinstance(roomy.train, Split)
    assert isinstance(tight.train, DecodedSplit)
    assert roomy.identity == tight.identity
    batches = [
        TrainingBatches(
            data.train,
            config=configure(**changes),
            batch_size=4,
            seed=1,
            device="cpu",
            normalise=statistics_of(data.train, configure(**changes)),
        )
        for data in (roomy, tight)
    ]
    for index in (0, 1, 2, 3, 7, 2):
        for expected, found in zip(batches[0](index), batches[1](index), strict=True):
            assert torch.equal(expected, found)


def test_shorter_side_is_resized_and_the_centre_cut_out(configure, tmp_path):
    pixels = np.zeros((20, 60, 3), dtype=np.uint8)
    pixels[:, 20:40] = 200  # the centre
    for split, name in (("train", "a"), ("train", "b"), ("val", "a")):
        folder = tmp_path / split / name
        folder.mkdir(parents=True)
        Image.fromarray(pixels).save(folder / "x.png")
    config = configure(source="imagefolder", folder=str(tmp_path), image_size=10)
    images = load_dataset(config, NOWHERE).train.images
    assert images.shape == (2, 3, 10, 10)
    assert images[..., 1:-1].eq(200).all()  # the outer columns mix with what was cut off


def test_grey_images_have_one_channel_unless_one_is_in_colour(configure, tmp_path, draw_image):
    for split in ("train", "val"):
        for name in "ab":
            draw_image(tmp_path / split / name / "x.png", seed=1, mode="L")
    config = configure(source="imagefolder", folder=str(tmp_path))
    assert load_dataset(config, NOWHERE).image_shape == (1, 10, 12)
    draw_image(tmp_path / "val" / "a" / "y.png", seed=2)
    assert load_dataset(config, NOWHERE).image_shape == (3, 10, 12)


def test_no_folder_says_how_to_give_one(configure):
    with pytest.raises(ValueError, match=r"give dataset.folder=<the folder of images>"):
        identify(configure(source="imagefolder"), NOWHERE)


def test_missing_folder_is_named(configure, tmp_path):
    with pytest.raises(ValueError, match=f"dataset.folder: there is no folder {tmp_path}/photo"):
        identify(configure(source="imagefolder", folder=f"{tmp_path}/photo"), NOWHERE)


def test_folder_without_classes_is_named(configure, tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path} holds no classes"):
        identify(configure(source="imagefolder", folder=str(tmp_path), test_fraction=0.5), NOWHERE)


def test_empty_class_is_named(of_photos, photos):
    (photos / "train" / "eel").mkdir()
    with pytest.raises(ValueError, match="train/eel holds no image"):
        identify(of_photos, NOWHERE)


def test_val_class_that_train_lacks_is_named(of_photos, photos, draw_image):
    draw_image(photos / "val" / "eel" / "0.png", seed=0)
    with pytest.raises(ValueError, match=r"val/eel: .*train has no such class"):
        identify(of_photos, NOWHERE)


@pytest.mark.parametrize("when", ["listed", "decoded"])
def test_unreadable_image_is_named(of_photos, photos, when):
    path = photos / "train" / "dog" / "deeper" / "3.JPG"
    content = path.read_bytes()
    path.write_bytes(content[: 20 if when == "listed" else len(content) - 100])
    with pytest.raises(ValueError, match=r"deeper/3.JPG cannot be read as an image: \w+") as caught:
        load_dataset(of_photos, NOWHERE)
    assert "\n" not in str(caught.value)


BOMBS = {"bomb.png": (b"IHDR", 4, "LL"), "bomb.jpg": (b"\xff\xc0", 5, "HH")}


def bomb(name, side=60_000):
    """Return a small file whose header promises so many pixels a side."""
    content, (mark, skipped, kind) = io.BytesIO(), BOMBS[name]
    Image.new("RGB", (16, 16)).save(content, {".png": "PNG", ".jpg": "JPEG"}[name[-4:]])
    bad = bytearray(content.getvalue())
    struct.pack_into(f">{kind}", bad, bad.index(mark) + skipped, side, side)
    if mark == b"IHDR":
        start = bad.index(mark)
        struct.pack_into(">L", bad, start + 17, zlib.crc32(bad[start : start + 17]))
    return bytes(bad)


@pytest.mark.parametrize("name", BOMBS)
def test_image_of_too_many_pixels_is_refused_undecoded(of_photos, photos, name, monkeypatch):
    if jpeg.simplejpeg is not None:
        never = lambda *_, **__: pytest.fail("decoded")  # noqa: E731
        monkeypatch.setattr(jpeg.simplejpeg, "decode_jpeg", never)
    (photos / "train" / "cat" / name).write_bytes(bomb(name))
    with pytest.raises(
        ValueError, match=f"{name} cannot be read as an image: Image size"
    ) as caught:
        load_dataset(of_photos, NOWHERE)
    assert "\n" not in str(caught.value)
    with pytest.raises(Image.DecompressionBombError):
        decode(bomb(name))


def test_large_jpeg_that_pillow_reads_is_decoded_fast_and_scaled(monkeypatch):
    simplejpeg = pytest.importorskip("simplejpeg", reason="the extra imagenet is not installed")
    asked = []
    monkeypatch.setattr(
        simplejpeg, "decode_jpeg", lambda _, **limits: asked.append(limits) or np.zeros((1, 1, 3))
    )
    decode(bomb("bomb.jpg", side=13_000), smallest=128)  # 169 million pixels
    assert [limits["min_height"] for limits in asked] == [128]


def test_empty_file_is_named_as_an_unreadable_image(of_photos, photos):
    (photos / "train" / "cat" / "9.png").touch()
    with pytest.raises(ValueError, match=r"cat/9.png cannot be read as an image"):
        load_dataset(of_photos, NOWHERE)


def test_odd_pictures_are_read_as_their_first_upright_colour_frame(configure, tmp_path):
    red = Image.new("RGB", (12, 12), (255, 0, 0))
    frames = [red, Image.new("RGB", (12, 12), (0, 0, 255))]
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        frames[0].save(tmp_path / label / "animated.gif", save_all=True, append_images=frames[1:])
        red.convert("CMYK").save(tmp_path / label / "cmyk.jpg", quality=95)
        red.save(tmp_path / label / "renamed.jpg", "PNG")
        red.save(tmp_path / label / "renamed.png", "JPEG", quality=95)
    config = configure(source="imagefolder", folder=str(tmp_path), test_fraction=0.25)
    data = load_dataset(config, NOWHERE)
    for split in (data.train, data.test):
        assert (split.images[:, 0] > 245).all()
        assert (split.images[:, 1:] < 10).all()


def test_images_of_more_than_8_bits_need_the_value_of_white(of_photos, photos):
    deep = np.full((10, 12), 40_000, dtype=np.uint16)
    Image.fromarray(deep).save(photos / "train" / "cat" / "0.png")
    with pytest.raises(ValueError, match=r"cat/0.png .*8 bits a channel.*dataset.full_pixel="):
        load_dataset(of_photos, NOWHERE)


@pytest.mark.parametrize(
    ("kind", "suffix", "full_pixel"),
    [(np.uint16, "png", 4095.0), (np.int32, "tif", 4095.0), (np.float32, "tiff", 1.0)],
)
def test_deep_images_are_scaled_from_the_value_of_white(
    configure, tmp_path, kind, suffix, full_pixel
):
    ramp = np.linspace(0, full_pixel, 30).reshape(5, 6).astype(kind)
    for split in ("train", "val"):
        for name in "ab":
            (tmp_path / split / name).mkdir(parents=True)
            Image.fromarray(ramp).save(tmp_path / split / name / f"x.{suffix}")
    config = configure(source="imagefolder", folder=str(tmp_path), full_pixel=full_pixel)
    data = load_dataset(config, NOWHERE)
    expected = np.rint(ramp.astype(np.float64) * 255 / full_pixel)
    assert data.image_shape == (1, 5, 6)
    assert data.train.images[0, 0].tolist() == expected.tolist()
    assert expected.max() == 255
    too_low = configure(source="imagefolder", folder=str(tmp_path), full_pixel=full_pixel / 2)
    with pytest.raises(ValueError, match=r"x\.\w+ .*pixels must lie in 0 to dataset.full_pixel"):
        load_dataset(too_low, NOWHERE)


def test_pixels_that_are_no_numbers_are_refused(configure, tmp_path):
    for name in "ab":
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "val" / name).mkdir(parents=True)
        for split in ("train", "val"):
            pixels = np.full((4, 4), np.nan, dtype=np.float32)
            Image.fromarray(pixels).save(tmp_path / split / name / "x.tif")
    config = configure(source="imagefolder", folder=str(tmp_path), full_pixel=1.0)
    with pytest.raises(ValueError, match="pixels must lie in 0 to"):
        load_dataset(config, NOWHERE)


def upper_half_white(path, *, orientation, width=16):
    pixels = np.zeros((16, width, 3), np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize(
    ("orientation", "bright"),  # where the first row of the file belongs when upright
    [(1, np.s_[:6]), (3, np.s_[10:]), (6, np.s_[:, 10:]), (8, np.s_[:, :6])],
)
def test_images_are_turned_upright_as_exif_says(configure, tmp_path, suffix, orientation, bright):
    for split in ("train", "val"):
        for name in "ab":
            upper_half_white(tmp_path / split / name / f"x.{suffix}", orientation=orientation)
    config = configure(source="imagefolder", folder=str(tmp_path))
    image = load_dataset(config, NOWHERE).train.images[0, 0].numpy()
    assert image[bright].mean() > 240
    assert image.mean() < 140


def test_sizes_and_identity_are_those_of_upright_images(configure, tmp_path):
    for split in ("train", "val"):
        for name in "ab":
            upper_half_white(tmp_path / split / name / "x.jpg", orientation=6, width=24)
    config = configure(source="imagefolder", folder=str(tmp_path))
    data = load_dataset(config, NOWHERE)
    assert data.image_shape == (3, 24, 16)
    assert data.train.images.shape == (2, 3, 24, 16)
    assert data.identity["checksums"]["orientation"] == "exif:upright"


def test_identity_of_images_that_are_upright_is_as_before(of_photos):
    assert identify(of_photos, NOWHERE)["checksums"].keys() == {"content"}


@pytest.mark.parametrize("statistics", ["nothing", "channel_mean"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_truncated_image_is_met_before_training(configure, photos, split, statistics):
    path = photos / split / "cat" / ("0.png" if split == "train" else "0.jpeg")
    path.write_bytes(path.read_bytes()[:-100])
    config = configure(
        source="imagefolder", folder=str(photos), memory_gib=1e-9, subtract=statistics
    )
    with pytest.raises(ValueError, match=rf"{path.name} cannot be read as an image"):
        statistics_of(load_dataset(config, NOWHERE).train, config)


def test_images_of_different_sizes_need_an_image_size(of_photos, photos, draw_image, configure):
    draw_image(photos / "train" / "cat" / "9.png", seed=9, width=30)
    with pytest.raises(ValueError, match=r"dataset.image_size must be given: .* 2 different sizes"):
        identify(of_photos, NOWHERE)
    config = configure(source="imagefolder", folder=str(photos), image_size=6)
    assert load_dataset(config, NOWHERE).image_shape == (3, 6, 6)


def test_only_folder_without_val_takes_test_fraction(configure, one_set, photos, caplog):
    of_one_set = {"source": "imagefolder", "folder": str(one_set)}
    given = identify(configure(**of_one_set, test_fraction=0.2), NOWHERE)
    assert not caplog.messages
    assert identify(configure(**of_one_set), NOWHERE) == given
    assert caplog.messages[0].startswith(f"{one_set} has no train/ and val/ folders: a part of 0.2")
    with pytest.raises(ValueError, match=r"test_fraction must be null, .* val/ folder; got 0.5"):
        identify(configure(source="imagefolder", folder=str(photos), test_fraction=0.5), NOWHERE)


def test_train_alone_is_refused(of_photos, photos):
    (photos / "val").rename(photos.parent / "val")
    with pytest.raises(ValueError, match="neither val/ nor test/"):
        identify(of_photos, NOWHERE)


def test_too_few_images_to_split_names_the_key(of_one_set, one_set):
    for path in one_set.rglob("*.png"):
        if int(path.stem) > 2:
            path.unlink()
    with pytest.raises(ValueError, match=r"dataset.test_fraction: .* each class must keep one"):
        identify(of_one_set, NOWHERE)


def test_settled_files_are_not_read_again(of_photos, photos, monkeypatch):
    for path in photos.rglob("*.*"):
        os.utime(path, ns=(10**18, 10**18))
    before, reads = identify(of_photos, NOWHERE), []
    read = imagefolder._read_facts

    def counted(path):
        reads.append(path.name)
        return read(path)

    monkeypatch.setattr(imagefolder, "_read_facts", counted)
    assert identify(of_photos, NOWHERE) == before
    assert reads == []
    changed = photos / "val" / "dog" / "1.png"
    changed.write_bytes((photos / "val" / "dog" / "0.png").read_bytes())
    assert identify(of_photos, NOWHERE) != before
    assert reads == ["1.png"]


def test_jpegs_decode_to_the_same_pixels_with_and_without_simplejpeg(
    of_photos, photos, draw_image, monkeypatch
):
    pytest.importorskip("simplejpeg", reason="the extra imagenet is not installed")
    fast = load_dataset(of_photos, NOWHERE)
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    slow = load_dataset(of_photos, NOWHERE)
    assert torch.equal(fast.train.images, slow.train.images)
    assert torch.equal(fast.test.images, slow.test.images)


def test_scaled_decoding_is_asked_for_and_changes_pixels_a_little(configure, tmp_path):
    pytest.importorskip("simplejpeg", reason="the extra imagenet is not installed")
    ramp = np.linspace(0, 255, 80).astype(np.uint8)
    pixels = np.stack([np.add.outer(ramp // 2, ramp // 2)] * 3, 2)
    for place in ("train/a", "train/b", "val/a"):
        (tmp_path / place).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / place / "x.jpg", quality=95)
    whole, scaled = (
        load_dataset(
            configure(source="imagefolder", folder=str(tmp_path), image_size=10, **asked), NOWHERE
        ).train.images.int()
        for asked in ({}, {"scaled_decoding": True})
    )
    assert 0 < (whole - scaled).abs().max() <= 6
    with pytest.raises(ValueError, match=r"scaled_decoding needs dataset.image_size"):
        load_dataset(
            configure(source="imagefolder", folder=str(tmp_path), scaled_decoding=True), NOWHERE
        )
