"""From an ImageNet source to a store: the same bytes from every source, after every kill."""

import errno
import json
import multiprocessing
import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.datasets.imagenet_sources import (
    WNIDS,
    write_shards,
    write_tars,
    write_tree,
)

from anneal.datasets import Paths, identify
from anneal.datasets.imagenet import blocks, pixels, store, writer
from anneal.datasets.imagenet.pixels import Warp
from anneal.datasets.imagenet.prepare import Preparation, locked, prepare
from anneal.datasets.imagenet.zips import prepare_zips

BOX = Warp(size=16, filter="box")


def made(source: Path, folder: Path, *, warp: Warp = BOX, told=None, **changes) -> dict[str, bytes]:
    """Prepare a store; return its files without the times."""
    tell = (lambda _: None) if told is None else told.append
    prepare(source, folder, Preparation(warp=warp, **changes), tell=tell)
    return files_of(folder)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        p.name: p.read_bytes()
        for p in sorted(folder.iterdir())
        if p.name not in ("stamps.json", ".lock")
    }


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "tree")


@pytest.mark.parametrize("kind", ["raw", "jpeg"])
def test_store_is_the_same_from_every_source(tmp_path, tree, kind):
    flat = write_tree(tmp_path / "flat", flat=True)
    sources = {
        "flat": flat,
        "tars": write_tars(flat, tmp_path / "tars"),
        "shards": write_shards(tree, tmp_path / "shards"),
    }
    first = made(tree, tmp_path / "store", store=kind)
    assert f"train.{store.STORES[kind]}" in first
    for name, source in sources.items():
        assert made(source, tmp_path / f"store_{name}", store=kind) == first, name


def test_store_holds_warped_pixels_labels_and_sums(tmp_path, tree):
    files = made(tree, tmp_path / "store")
    identity = json.loads(files["identity.json"])
    names = files["train.names"].decode().split()
    images = np.frombuffer(files["train.u8"], np.uint8).reshape(-1, 16, 16, 3)
    assert names[7] == f"{WNIDS[1]}/{WNIDS[1]}_0"
    with Image.open(tree / "train" / f"{names[7]}.JPEG") as image:
        expected = np.asarray(image.resize((16, 16), Image.Resampling.BOX))
    assert (images[7] == expected).all()
    opened = store.open_store(tmp_path / "store")
    assert opened.array("train", "labels").tolist() == [0] * 7 + [1] * 7
    assert (opened.array("train", "sums") == images.sum(0, dtype=np.int64)).all()
    squares = (images.astype(np.int64) ** 2).sum((0, 1, 2))
    assert opened.array("train", "squares").tolist() == squares.tolist()
    order = opened.array("train", "order")
    assert sorted(order) == list(range(14)) != order.tolist()
    assert identity["splits"]["train"]["images_per_class"] == [7, 7]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("great white shark\n", r"classes.txt has no line for class 1"),
        ("crane\ncrane\n", r"two classes must not have one name, got 'crane' twice"),
    ],
)
def test_class_names_of_shards_are_one_a_line_and_different(tmp_path, tree, lines, message):
    shards = write_shards(tree, tmp_path / "shards")
    (shards / "classes.txt").write_text("great white shark\ngoldfish\n")
    identity = json.loads(made(shards, tmp_path / "store")["identity.json"])
    assert identity["class_names"] == ["great white shark", "goldfish"]
    (shards / "classes.txt").write_text(lines)
    with pytest.raises(ValueError, match=message):
        made(shards, tmp_path / "other")


def test_several_workers_give_the_same_bytes(tmp_path, tree, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 2)  # seven blocks of training images
    one = made(tree, tmp_path / "one")
    decode = blocks.decode_block

    def delayed(members, **settings):
        time.sleep(0.02 if members[0].name.endswith("_0") else 0)
        return decode(members, **settings)

    monkeypatch.setattr(blocks, "decode_block", delayed)  # later blocks are ready first
    assert made(tree, tmp_path / "three", workers=3) == one


def test_formats_are_registered_before_threads_decode(tmp_path, tree, monkeypatch):
    steps: list[str] = []
    register, decode = Image.init, blocks.decode_block
    monkeypatch.setattr(Image, "init", lambda: (steps.append("register"), register())[1])
    monkeypatch.setattr(
        blocks, "decode_block", lambda *of, **to: (steps.append("decode"), decode(*of, **to))[1]
    )
    made(tree, tmp_path / "store", workers=2)
    assert steps[:2] == ["register", "decode"]


@pytest.mark.parametrize("kind", ["raw", "jpeg"])
def test_killed_preparation_resumes_to_the_same_bytes(tmp_path, tree, monkeypatch, kind):
    monkeypatch.setattr(blocks, "BLOCK", 2)
    whole = made(tree, tmp_path / "whole", chunk=4, store=kind)

    def slow(self, content):
        time.sleep(0.002)
        return pixels.warp(pixels.decode(content), self)

    monkeypatch.setattr(Warp, "__call__", slow)
    draw, folder, kills = random.Random(4), tmp_path / "killed", 0
    fork = multiprocessing.get_context("fork")
    for _ in range(6):
        process = fork.Process(target=made, args=(tree, folder), kwargs={"chunk": 4, "store": kind})
        process.start()
        process.join(0.01 + 0.1 * draw.random())
        kills += process.exitcode is None
        process.kill()  # minds no process that has ended between the two lines
        process.join()
    assert kills
    assert made(tree, folder, chunk=4, store=kind) == whole


def test_resumed_preparation_decodes_no_done_chunk_again(tmp_path, tree, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 2)
    decoded, decode = [], blocks.decode_block

    def interrupted(members, **settings):
        decoded.append(members[0].name)
        if len(decoded) == 4:
            raise KeyboardInterrupt
        return decode(members, **settings)

    monkeypatch.setattr(blocks, "decode_block", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made(tree, tmp_path / "store", chunk=4)
    before = decoded[:]
    made(tree, tmp_path / "store", chunk=4)
    assert decoded[4] == before[2]  # chunk 0 is blocks 0 and 1


def test_killed_finish_and_foreign_folder_are_left_out_of_store(tmp_path, tree, monkeypatch):
    whole = made(tree, tmp_path / "whole")
    (tmp_path / "store" / "lost+found").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr("anneal.datasets.imagenet.prepare.write_stamps", _interrupt_after_stamps)
        with pytest.raises(KeyboardInterrupt):
            prepare(tree, tmp_path / "store", Preparation(warp=BOX), tell=lambda _: None)
    prepare(tree, tmp_path / "store", Preparation(warp=BOX), tell=lambda _: None)
    assert (tmp_path / "store" / "identity.json").read_bytes() == whole["identity.json"]
    store.open_store(tmp_path / "store")


def _interrupt_after_stamps(of_store):
    store.write_stamps(of_store)
    raise KeyboardInterrupt


def test_full_disk_leaves_the_chunk_undone(tmp_path, tree, monkeypatch):
    sync = os.fsync

    def full(descriptor):
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".u8":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(writer.os, "fsync", full)
        with pytest.raises(
            OSError, match="No space left on device; the chunk is not done"
        ) as error:
            made(tree, tmp_path / "store")
    assert error.value.filename == str(tmp_path / "store" / "train.u8")
    assert made(tree, tmp_path / "store") == made(tree, tmp_path / "other")


def test_room_is_checked_before_the_first_byte(tmp_path, tree, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"store needs 0.1 GB more on its disk, 0.0 GB are free"):
        made(tree, tmp_path / "store")
    assert not list((tmp_path / "store").glob("train*"))


def test_folder_that_another_process_writes_is_refused(tmp_path, tree):
    with locked(tmp_path / "store"), pytest.raises(ValueError, match="written by another process"):
        made(tree, tmp_path / "store")


def test_undecodable_images_are_all_listed_and_skipped_on_request(tmp_path, tree):
    broken = [tree / "train" / WNIDS[0] / f"{WNIDS[0]}_{n}.JPEG" for n in (1, 4)]
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"^2 images cannot be decoded, 0 may: .*skip-bad 2") as e:
        made(tree, tmp_path / "store")
    assert all(str(path) in str(e.value) for path in broken)
    assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match="2 images cannot be decoded, 1 may"):
        made(tree, tmp_path / "store", skip_bad=1)
    identity = json.loads(made(tree, tmp_path / "store", skip_bad=2)["identity.json"])
    train = identity["splits"]["train"]
    assert train["left_out"] == [f"{WNIDS[0]}/{WNIDS[0]}_{n}" for n in (1, 4)]
    assert train["images_per_class"] == [5, 7]
    assert store.verify_store(tmp_path / "store").num_images("train") == 12


@pytest.mark.parametrize("kind", ["CMYK", "L", "PNG", "I;16"])
def test_files_that_are_no_colour_jpeg_become_rgb(tmp_path, tree, kind):
    path = tree / "train" / WNIDS[0] / f"{WNIDS[0]}_0.JPEG"
    grey = np.full((20, 30), 130 * 257, np.uint16) if kind == "I;16" else None
    image = Image.new("RGB", (30, 20), (130, 130, 130)) if grey is None else Image.fromarray(grey)
    if kind in ("CMYK", "L"):
        image.convert(kind).save(path, "JPEG", quality=100)
    else:
        image.save(path, "PNG")
    files = made(tree, tmp_path / "store")
    first = np.frombuffer(files["train.u8"], np.uint8, 16 * 16 * 3).astype(int)
    assert abs(first - 130).max() <= 2


def test_damaged_chunk_is_named_by_verify(tmp_path, tree, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 2)
    made(tree, tmp_path / "store", chunk=4)
    path = tmp_path / "store" / "train.u8"
    content = bytearray(path.read_bytes())
    content[5 * 16 * 16 * 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train.u8 was changed or copied.*--verify"):
        store.open_store(tmp_path / "store")
    with pytest.raises(ValueError, match=r"train.u8: chunk 1 \(images 4 to 7\) is damaged"):
        store.verify_store(tmp_path / "store")


def test_verified_copy_of_a_store_opens(tmp_path, tree):
    made(tree, tmp_path / "store")
    os.utime(tmp_path / "store" / "val.u8")
    store.verify_store(tmp_path / "store")
    assert store.open_store(tmp_path / "store").num_images("test") == 6


@pytest.mark.parametrize("name", ["train.labels.npy", "val.labels.npy", "train.order.npy"])
def test_changed_array_is_refused_though_size_and_time_are_equal(tmp_path, tree, name):
    made(tree, tmp_path / "store")
    path = tmp_path / "store" / name
    before = path.stat()
    path.write_bytes(path.read_bytes()[:-4] + b"\1\0\0\1")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ValueError, match=rf"{name} is damaged: expected sha256"):
        store.open_store(tmp_path / "store")


def test_pixels_shorter_than_their_index_are_refused(tmp_path, tree):
    made(tree, tmp_path / "store")
    path = tmp_path / "store" / "train.u8"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"train.u8 must have 10752 bytes, found 10751 \(cut sh"):
        store.open_store(tmp_path / "store")


def test_unfinished_store_of_other_settings_is_refused(tmp_path, tree, monkeypatch):
    monkeypatch.setattr(blocks, "decode_block", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        made(tree, tmp_path / "store")
    with pytest.raises(ValueError, match=r"unfinished store of another size, 16 in place of 8"):
        made(tree, tmp_path / "store", warp=Warp(size=8, filter="box"))
    with pytest.raises(ValueError, match=r"no finished store .*it resumes"):
        store.open_store(tmp_path / "store")


def _interrupt(members, **settings):
    raise KeyboardInterrupt


def test_finished_store_of_another_size_is_refused(tmp_path, tree):
    made(tree, tmp_path / "store")
    with pytest.raises(ValueError, match="holds a finished store of size 16, not 8"):
        made(tree, tmp_path / "store", warp=Warp(size=8, filter="box"))
    with pytest.raises(ValueError, match="holds a finished store of size 16, not 8"):
        prepare_zips([], tmp_path / "store", size=8)
    told: list[str] = []
    made(tree, tmp_path / "store", told=told)
    assert told == [f"{tmp_path / 'store'} is finished: the source was not read again"]


def test_scaled_decoding_of_a_store_must_be_asked_for(tmp_path, configure, monkeypatch):
    pytest.importorskip("simplejpeg", reason="the extra imagenet is not installed")
    tree, folder = write_tree(tmp_path / "tree"), tmp_path / "store"
    small = {"size": 8, "filter": "box"}
    made(tree, folder, warp=Warp(**small, dct_scaling=True))
    with pytest.raises(ValueError, match="finished store of dct_scaling True, not False"):
        made(tree, folder, warp=Warp(**small))
    asked = {
        "source": "imagenet16", "folder": str(folder), "image_size": 8, "subset": True
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"scaled_decoding is False, .* is a store of True"):
        identify(configure(**asked), Paths(tmp_path))
    found = identify(configure(**asked, scaled_decoding=True), Paths(tmp_path))
    assert found["splits"]["train"]["num_images"] == 14
    monkeypatch.setattr("anneal.datasets.imagenet.prepare.simplejpeg", None)
    with pytest.raises(ValueError, match="--dct-scaling needs simplejpeg"):
        made(tree, tmp_path / "other", warp=Warp(**small, dct_scaling=True))


def test_missing_source_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no such folder"):
        made(tmp_path / "nowhere", tmp_path / "store")
    with pytest.raises(ValueError, match="has neither train/"):
        made(tmp_path, tmp_path / "store")


def test_class_without_images_is_named(tmp_path, tree):
    (tree / "train" / "n09999999").mkdir()
    with pytest.raises(ValueError, match="train/n09999999 holds no images"):
        made(tree, tmp_path / "store")


def test_flat_validation_images_must_all_be_there(tmp_path):
    tree = write_tree(tmp_path / "tree", flat=True)
    (tree / "val" / "ILSVRC2012_val_00000002.JPEG").unlink()
    with pytest.raises(ValueError, match=r"validation images 1 to 6 of its devkit, got 5"):
        made(tree, tmp_path / "store")


def test_devkit_label_above_1000_is_refused(tmp_path):
    tree = write_tree(tmp_path / "tree", flat=True)
    kit = tree / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt"
    kit.write_text(kit.read_text().replace("1", "1001", 1))
    with pytest.raises(ValueError, match=r"labels must be 1 to 1000 and in meta.mat, got 1001"):
        made(tree, tmp_path / "store")


def test_tar_that_is_cut_short_is_refused(tmp_path):
    source = write_tars(write_tree(tmp_path / "tree", flat=True), tmp_path / "tars")
    path = source / "ILSVRC2012_img_val.tar"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"ILSVRC2012_img_val.tar cannot be read as a tar: unexp"):
        made(source, tmp_path / "store")
