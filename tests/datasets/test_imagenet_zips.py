"""The published zips of downsampled ImageNet: an imitation is read, what is wrong is refused."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from anneal.commands import prepare
from anneal.datasets.imagenet import writer, zips
from anneal.datasets.imagenet.zips import PUBLISHED, check_zip, find_zips, prepare_zips


def npz(data, labels) -> bytes:
    target = io.BytesIO()
    np.savez_compressed(target, data=data, labels=labels, mean=data.mean(0))
    return target.getvalue()


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as outer:
        for name, content in members.items():
            outer.writestr(f"{path.stem}/{name}", content)
    return path


def images_of(number, *, size=16, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (number, 3 * size * size), dtype=np.uint8)


def npz_cut_short() -> bytes:
    """Return an ``.npz`` whose pixels are fewer than the header of their array says."""
    target, data, labels = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(data, images_of(2))
    np.save(labels, np.array([1, 2]))
    with zipfile.ZipFile(target, "w") as inner:
        inner.writestr("labels.npy", labels.getvalue())
        inner.writestr("data.npy", data.getvalue()[:-1])
    return target.getvalue()


@pytest.fixture
def imitation(tmp_path):
    """Zips of 12 files of 30 training images and one of 7, of three classes."""
    train = {
        f"train_data_batch_{n}.npz": npz(images_of(30, seed=n), 1 + (np.arange(30) + n) % 3)
        for n in range(1, 13)
    }
    val = {"val_data.npz": npz(images_of(7, seed=99), np.array([1, 2, 3, 1, 2, 3, 1]))}
    return [
        write_zip(tmp_path / "Imagenet16_train_npz.zip", train),
        write_zip(tmp_path / "Imagenet16_val_npz.zip", val),
    ]


def read(folder, size=16):
    pixels = np.fromfile(folder / "train.u8", np.uint8).reshape(-1, size, size, 3)
    return pixels, np.load(folder / "train.labels.npy")


def test_imitation_becomes_a_store_in_the_order_of_its_files(tmp_path, imitation):
    store = prepare_zips(imitation, tmp_path / "store", size=16, published=False)
    pixels, labels = read(store.folder)
    planes = images_of(30, seed=10).reshape(30, 3, 16, 16)  # batch 10 comes after 9, not after 1
    assert (pixels[270:300] == planes.transpose(0, 2, 3, 1)).all()
    assert labels[270:300].tolist() == ((np.arange(30) + 10) % 3).tolist()
    assert store.array("train", "order").tolist() == list(range(360))
    assert store.num_images("test") == 7
    assert (store.array("train", "sums") == pixels.sum(0, dtype=np.int64)).all()


def test_command_makes_a_store_of_zips_and_verifies_it(tmp_path, imitation, capsys):
    store = tmp_path / "store"
    prepare.main([str(tmp_path), str(store), "--size", "16", "--imitation"])
    prepare.main(["--verify", str(store)])
    *_, made, verified = capsys.readouterr().out.splitlines()
    assert made == verified
    assert made.startswith(f"{store}: 360 training and 7 validation images of 3 classes, 16 px")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "16", "--store", "jpeg"], "--store must be raw for the zips"),
        (["--size", "16", "--dct-scaling"], "--dct-scaling is of images that are decoded"),
        (["--size", "32", "--imitation"], "--imitation is of zips, and"),
    ],
)
def test_command_refuses_options_that_would_do_nothing(
    tmp_path, imitation, capsys, arguments, said
):
    with pytest.raises(SystemExit):
        prepare.main([str(tmp_path), str(tmp_path / "store"), *arguments])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_interrupted_zips_resume_to_the_same_bytes(tmp_path, imitation, monkeypatch):
    whole = prepare_zips(imitation, tmp_path / "whole", size=16, published=False).folder
    begin = zips.begin

    def in_small_chunks(*arguments, **keywords):
        writers = begin(*arguments, **keywords)
        for one in writers.values():
            one._chunk = 60
        return writers

    saves = []

    def killed(self):
        save(self)
        saves.append(self.done)
        if len(saves) == 3:
            raise KeyboardInterrupt

    save = writer.SplitWriter._save
    monkeypatch.setattr(zips, "begin", in_small_chunks)
    monkeypatch.setattr(writer.SplitWriter, "_save", killed)
    folder = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        prepare_zips(imitation, folder, size=16, published=False)
    prepare_zips(imitation, folder, size=16, published=False)
    assert saves[:4] == [60, 120, 180, 240]
    for name in ("train.u8", "train.labels.npy", "train.sums.npy", "val.u8", "train.names"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


def test_zip_of_another_size_or_checksum_is_refused(tmp_path, imitation, monkeypatch):
    with pytest.raises(ValueError, match=r"expected 931837742 bytes, found \d+ \(cut short\)$"):
        prepare_zips(imitation, tmp_path / "store", size=16)
    expected = PUBLISHED[16][0]
    changed = type(expected)(
        name=expected.name, num_bytes=imitation[0].stat().st_size, sha256=expected.sha256
    )
    with pytest.raises(ValueError, match=r"train_npz.zip .* expected sha256 dea57cdc1d"):
        check_zip(imitation[0], changed)


def test_zip_that_is_cut_short_is_refused(tmp_path, imitation):
    imitation[0].write_bytes(imitation[0].read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"train_npz.zip .*cut short"):
        prepare_zips(imitation, tmp_path / "store", size=16, published=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"data": [1], "labels": [1]}), r"val_data.npz is no .npz; pickles are not"),
        (npz(images_of(2), np.array([1, None])), r"labels.npy cannot be read: Object arrays"),
        (npz(images_of(2), np.array([0, 1])), r"labels must be 1 to 1000, got 0"),
        (npz(images_of(2), np.array([1, 1001])), r"labels must be 1 to 1000, got 1001"),
        (npz(images_of(2, size=8), np.array([1, 2])), r"data must be uint8 \(2, 768\), got uint8"),
        (npz_cut_short(), r"val_data.npz: data.npy is shorter than its header says"),
    ],
)
def test_member_in_another_format_is_refused(tmp_path, imitation, content, message):
    write_zip(imitation[1], {"val_data.npz": content})
    with pytest.raises(ValueError, match=message):
        prepare_zips(imitation, tmp_path / "store", size=16, published=False)


def test_pixelrnn_downsampled_imagenet_is_refused_by_name(tmp_path, imitation):
    val = npz(np.zeros((49_999, 768), np.uint8), np.ones(49_999, np.int64))
    write_zip(imitation[1], {"val_data.npz": val})
    with pytest.raises(ValueError, match=r"49,999 validation images: .* of PixelRNN \(1601.06759"):
        prepare_zips(imitation, tmp_path / "store", size=16, published=False)


def test_zips_are_found_under_both_names_and_only_together(tmp_path, imitation):
    assert find_zips([tmp_path / "none", tmp_path], 16) == imitation
    renamed = imitation[1].rename(tmp_path / "Imagenet16_val.zip")
    assert find_zips([tmp_path], 16) == [imitation[0], renamed]
    renamed.unlink()
    assert find_zips([tmp_path], 16) == []
