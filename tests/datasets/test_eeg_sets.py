"""EEG data sets: read from EDF files once, kept as arrays, refused when they are wrong."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from anneal.commands import run as run_command
from anneal.config.signals import SignalConfig, SimulationConfig
from anneal.datasets import Paths, identify, load_dataset
from anneal.datasets.eeg import eegbci, fetch, high_gamma, simulated_eeg
from anneal.datasets.eeg.preprocessing import Recording, Standardise
from anneal.datasets.registry import find_dataset

WINDOW = {"step": "window", "from_s": 0.0, "to_s": 1.0}
SIMULATION = SimulationConfig(
    sensors=4, train_trials=20, test_trials=10, strength=0.5, rhythm_hz=10.0, sampling_hz=64.0,
    seed=0,
)  # fmt: skip
SIGNALS = {
    "eegbci": SignalConfig(
        subjects=(1,), classes=("left_hand", "right_hand"), preprocessing=(WINDOW,),
        crop_samples=None, task="fists",
    ),
    "high_gamma": SignalConfig(
        subjects=(1,), classes=high_gamma.CLASSES, preprocessing=(WINDOW,), crop_samples=None
    ),
    "simulated_eeg": SignalConfig(
        subjects=(1,), classes=("left", "right"), preprocessing=(WINDOW,), crop_samples=None,
        simulation=SIMULATION,
    ),
}  # fmt: skip


@pytest.fixture
def of_source(configure):
    """A configuration of a source of signals, with some keys of ``signal`` replaced."""

    def build(source: str, **changes):
        signal = dataclasses.replace(SIGNALS[source], **changes)
        return configure(name=source, source=source, order="shuffled", signal=signal)

    return build


def write_edf(path: Path, cues: list[str], *, hz: int, prefix: str = "", seed: int = 0) -> None:
    """Write three EEG channels and an EMG channel, with a cue every two seconds."""
    edfio = pytest.importorskip("edfio")
    pytest.importorskip("mne")
    rng = np.random.default_rng(seed)
    names = [f"{prefix}{name}" for name in ("Fcz.", "C3..", "Cz..")]
    if prefix:
        names = [name.strip(".") for name in names] + ["EMG RH"]
    signals = [
        edfio.EdfSignal(
            rng.normal(0, 20, hz * (2 * len(cues) + 2)), hz, label=name, physical_dimension="uV",
            physical_range=(-900, 900),
        )
        for name in names
    ]  # fmt: skip
    annotations = [edfio.EdfAnnotation(1.0 + 2 * n, 1.0, cue) for n, cue in enumerate(cues)]
    path.parent.mkdir(parents=True, exist_ok=True)
    edfio.Edf(signals, annotations=annotations).write(path)


def write_runs(root: Path, subject: int = 1, hz: int = 160) -> None:
    for run in (3, 7, 11):
        cues = ["T1", "T0", "T2", "T0"] * 3
        write_edf(root / eegbci.FOLDER / eegbci.file_of(subject, run), cues, hz=hz, seed=run)


def write_high_gamma(root: Path, folder: Path = high_gamma.FOLDERS[0]) -> None:
    for seed, (split, rounds) in enumerate({"train": 3, "test": 1}.items()):
        cues = [*high_gamma.CLASSES] * rounds
        write_edf(root / folder / split / "1.edf", cues, hz=500, prefix="EEG ", seed=seed)


def test_runs_become_trials_and_the_last_is_tested(tmp_path, of_source):
    write_runs(tmp_path / "archives")
    paths = Paths(tmp_path / "data", tmp_path / "archives")
    config = of_source("eegbci")
    data = load_dataset(config, paths)
    assert (len(data.train), len(data.test), data.image_shape) == (12, 6, (3, 160))
    assert data.test.labels.tolist() == [0, 1, 0, 1, 0, 1]
    identity = identify(config, paths)
    assert identity == data.identity == json.loads(json.dumps(identity))
    assert identity["splits"]["train"]["images_per_class"] == [6, 6]
    assert sorted(identity["checksums"]) == ["run 11", "run 3", "run 7"]
    other = load_dataset(of_source("eegbci", test_run=3, runs=(3, 7)), paths)
    assert (len(other.train), len(other.test)) == (6, 6)
    assert not np.array_equal(other.test.images, data.test.images)


def test_high_gamma_is_read_from_either_layout_without_muscle_channels(tmp_path, of_source):
    for number, folder in enumerate(high_gamma.FOLDERS):
        root = tmp_path / str(number)
        write_high_gamma(root, folder)
        data = load_dataset(of_source("high_gamma"), Paths(root))
        assert (len(data.train), len(data.test), data.image_shape) == (12, 4, (3, 500))
        assert data.train.labels[:4].tolist() == [0, 1, 2, 3]


def test_second_start_reads_no_recording_and_imports_no_mne(tmp_path, of_source):
    write_runs(tmp_path)
    config, paths = of_source("eegbci"), Paths(tmp_path)
    first = load_dataset(config, paths)
    for run in (3, 7, 11):  # the same size and time, but no EDF file any more
        file = tmp_path / eegbci.FOLDER / eegbci.file_of(1, run)
        state = file.stat()
        file.write_bytes(bytes(state.st_size))
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    second = load_dataset(config, paths)
    assert second.train.images.equal(first.train.images)
    code = (
        "import sys\nfrom anneal.datasets.eeg import eegbci, high_gamma, simulated_eeg\n"
        "print(*{'mne', 'moabb', 'braindecode', 'scipy'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_crop_changes_no_stored_trial(tmp_path, of_source):
    write_runs(tmp_path)
    load_dataset(of_source("eegbci"), Paths(tmp_path))
    load_dataset(of_source("eegbci", crop_samples=100), Paths(tmp_path))
    assert len([p for p in (tmp_path / "signals").iterdir() if p.is_dir()]) == 1
    load_dataset(of_source("eegbci", classes=("right_hand", "left_hand")), Paths(tmp_path))
    assert len([p for p in (tmp_path / "signals").iterdir() if p.is_dir()]) == 2


def test_several_subjects_have_an_identity_each_and_no_common_set(tmp_path, of_source):
    config, paths = of_source("simulated_eeg", subjects=(1, 2)), Paths(tmp_path)
    identity = identify(config, paths)
    one = of_source("simulated_eeg", subjects=(2,))
    assert identity["subjects"]["2"] == identify(one, paths)
    with pytest.raises(ValueError, match=r"one subject for one run, as \[1\], got \[1, 2\]"):
        load_dataset(config, paths)


def test_simulation_is_the_same_again_and_another_for_another_subject(tmp_path, of_source):
    first = load_dataset(of_source("simulated_eeg"), Paths(tmp_path / "a"))
    again = load_dataset(of_source("simulated_eeg"), Paths(tmp_path / "b"))
    other = load_dataset(of_source("simulated_eeg", subjects=(2,)), Paths(tmp_path / "b"))
    assert first.train.images.equal(again.train.images)
    assert not first.train.images.equal(other.train.images)


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_planted_rhythm_is_the_class_and_nothing_else_is(strength):
    simulation = dataclasses.replace(SIMULATION, strength=strength)
    recording = simulated_eeg.simulate(
        simulation, classes=("left", "right"), trials_per_class=200, subject=1, recording=0
    )
    sources = np.linalg.inv(simulated_eeg.mixing_of(simulation, 1)) @ recording.values
    hz, length = simulation.sampling_hz, 256
    wave = np.exp(-2j * np.pi * simulation.rhythm_hz * np.arange(length) / hz)
    power = np.array([
        np.abs(sources[:2, first : first + length] @ wave) for first in recording.samples_at(0.0)
    ])  # fmt: skip
    right = np.mean([recording.labels[n] == ("left", "right")[p.argmax()]
                     for n, p in enumerate(power)])  # fmt: skip
    assert right > 0.95 if strength else abs(right - 0.5) < 0.1  # measured: 1.0 and 0.48


# --- bad input ------------------------------------------------------------------------------------


def test_missing_run_is_named_with_its_place_within_two_seconds(tmp_path, of_source, monkeypatch):
    monkeypatch.setattr(fetch.importlib.util, "find_spec", lambda name: name)  # moabb is there
    monkeypatch.setattr(fetch, "answers", lambda _host: False)
    write_runs(tmp_path)
    (tmp_path / eegbci.FOLDER / eegbci.file_of(1, 7)).unlink()
    began = time.monotonic()
    with pytest.raises(OSError, match=r"subject 1 lacks run 7, sought as .*S001R07\.edf; physio"):
        load_dataset(of_source("eegbci"), Paths(tmp_path))
    assert time.monotonic() - began < 2


def test_missing_half_of_high_gamma_tells_of_the_two_files_with_one_name(
    tmp_path, of_source, monkeypatch
):
    monkeypatch.setattr(fetch, "_obstacle", lambda _source: "no network")
    write_high_gamma(tmp_path)
    (tmp_path / high_gamma.FOLDERS[0] / "test" / "1.edf").unlink()
    with pytest.raises(OSError, match=r"lacks test, .*no network.*older downloads overwrote"):
        load_dataset(of_source("high_gamma"), Paths(tmp_path))


def test_server_that_does_not_answer_is_given_up_after_two_seconds(monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fetch.socket, "create_connection", lambda *_a, **_k: time.sleep(30))
    began = time.monotonic()
    assert not fetch.answers("physionet.org")
    assert time.monotonic() - began < 2


def test_train_and_test_that_are_one_file_are_refused(tmp_path, of_source):
    write_high_gamma(tmp_path)
    folder = tmp_path / high_gamma.FOLDERS[0]
    (folder / "test" / "1.edf").write_bytes((folder / "train" / "1.edf").read_bytes())
    with pytest.raises(ValueError, match=r"train/1\.edf and .*test/1\.edf are the same file"):
        load_dataset(of_source("high_gamma"), Paths(tmp_path))


def test_file_cut_short_is_refused_with_both_sizes(tmp_path, of_source):
    write_runs(tmp_path)
    file = tmp_path / eegbci.FOLDER / eegbci.file_of(1, 3)
    content = file.read_bytes()
    file.write_bytes(content[:-1000])
    said = rf"S001R03\.edf is cut short: .* {len(content)} bytes, it has {len(content) - 1000}"
    with pytest.raises(ValueError, match=said):
        load_dataset(of_source("eegbci"), Paths(tmp_path))
    file.write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(ValueError, match=r"S001R03\.edf is no EDF file"):
        load_dataset(of_source("eegbci"), Paths(tmp_path))


def test_another_sampling_rate_is_refused(tmp_path, of_source):
    write_runs(tmp_path, subject=88, hz=128)
    with pytest.raises(ValueError, match=r"S088R03\.edf has 128 samples a second, .* 160; leave"):
        load_dataset(of_source("eegbci", subjects=(88,)), Paths(tmp_path))


def test_class_that_rejection_leaves_empty_is_refused(tmp_path, of_source):
    write_runs(tmp_path)
    reject = {"step": "reject", "above_uv": 1.0, "from_s": 0.0, "to_s": 1.0}
    config = of_source("eegbci", preprocessing=(reject, WINDOW))
    with pytest.raises(ValueError, match=r"no train trial of left_hand, right_hand: 12 were rej"):
        load_dataset(config, Paths(tmp_path))


def test_arrays_of_other_settings_are_refused(tmp_path, of_source):
    config, paths = of_source("simulated_eeg"), Paths(tmp_path)
    load_dataset(config, paths)
    (folder,) = (p for p in (tmp_path / "signals").iterdir() if p.is_dir())
    about = json.loads((folder / "trials.json").read_text())
    about["settings"]["signal"]["simulation"]["strength"] = 2.0
    (folder / "trials.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=rf"{folder.name}: its arrays are of other settings; del"):
        load_dataset(config, paths)
    np.save(folder / "train.npy", np.zeros((2, 2)))
    about["settings"]["signal"]["simulation"]["strength"] = 0.5
    (folder / "trials.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"train\.npy does not go with trials\.json; delete"):
        load_dataset(config, paths)


def test_extra_is_named_where_mne_is_missing(tmp_path, of_source, monkeypatch):
    write_runs(tmp_path)
    find = eegbci.require_extra.__globals__["importlib"].util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *a: None if name == "mne" else find(name, *a)
    )
    with pytest.raises(ValueError, match=r"eegbci needs MNE, .* `make setup EXTRAS=eeg`"):
        load_dataset(of_source("eegbci"), Paths(tmp_path))


REFUSED = [
    ("eegbci", {"subjects": (110,)}, r"subjects must be of 1 to 109, got 110"),
    ("high_gamma", {"subjects": (15,)}, r"subjects must be of 1 to 14, got 15"),
    ("eegbci", {"task": None}, r"task must be one of fists, feet, both for source eegbci"),
    ("eegbci", {"runs": (3, 4)}, r"runs must be of 3, 7, 11 for task fists, got 4"),
    ("eegbci", {"runs": (3,)}, r"runs must be two or more, one of which is tested on, got 3"),
    ("eegbci", {"runs": (3, 7), "test_run": 11}, r"test_run must be of 3, 7 for task fists, got 1"),
    ("eegbci", {"classes": ("left_hand", "feet")}, r"classes must be of left_hand, right_hand f"),
    ("high_gamma", {"classes": ("feet", "tongue")}, r"classes must be of .*, got 'tongue'"),
    ("high_gamma", {"task": "fists"}, r"task must be null for source high_gamma"),
    ("simulated_eeg", {"simulation": None}, r"simulation must say what is made, got null"),
    ("simulated_eeg", {"crop_samples": 65}, r"crop_samples must be at most the 64 samples of the"),
]


@pytest.mark.parametrize(("source", "changes", "said"), REFUSED)
def test_wrong_key_of_signal_is_refused_by_name(tmp_path, of_source, source, changes, said):
    where = rf"^conf/dataset/{source}\.yaml \(or an override\): dataset\.signal\.{said}"
    with pytest.raises(ValueError, match=where):
        identify(of_source(source, **changes), Paths(tmp_path))


@pytest.mark.parametrize(
    ("key", "value"),
    [("subtract", "channel_mean"), ("scale", 1.0), ("mirror", True), ("crop_padding", 4),
     ("image_size", 8), ("divide", "channel_std"), ("mirrored_copies", True), ("split_seed", 3)],
)  # fmt: skip
def test_key_of_images_is_refused_with_signals(of_source, key, value):
    config = dataclasses.replace(of_source("simulated_eeg"), **{key: value})
    with pytest.raises(ValueError, match=rf"^dataset\.{key} is of images and must be "):
        find_dataset(config)


def test_signal_is_refused_with_images(configure):
    config = configure(signal=SIGNALS["eegbci"])
    with pytest.raises(ValueError, match=r"^dataset\.signal must be null for source digits"):
        find_dataset(config)


# --- oracles --------------------------------------------------------------------------------------


@pytest.mark.archives
def test_trials_are_those_of_mnes_own_epochs(archives, tmp_path, of_source):
    mne = pytest.importorskip("mne")
    window = WINDOW | {"from_s": -0.2, "to_s": 4.0}
    config = of_source("eegbci", preprocessing=(window,))
    data = load_dataset(config, Paths(tmp_path, archives))
    file = archives / eegbci.FOLDER / eegbci.file_of(1, 11)
    raw = mne.io.read_raw_edf(file, preload=True, verbose="error")
    events, _ = mne.events_from_annotations(raw, {"T1": 0, "T2": 1}, verbose="error")
    epochs = mne.Epochs(
        raw, events, tmin=-0.2, tmax=4.0 - 1 / 160, baseline=None, preload=True, verbose="error"
    )
    assert data.test.labels.tolist() == epochs.events[:, 2].tolist()
    expected = epochs.get_data(units="uV", verbose="error").astype(np.float32)
    np.testing.assert_array_equal(data.test.images.numpy(), expected)
    mne.datasets.eegbci.standardize(raw)
    assert [eegbci.channel_name(f"{name}.") for name in raw.ch_names] == raw.ch_names


@pytest.mark.slow
@pytest.mark.archives
def test_trials_and_labels_are_those_of_moabb(archives, tmp_path, of_source, monkeypatch):
    pytest.importorskip("moabb")
    monkeypatch.setenv("MOABB_DOWNLOAD_PROVIDER", "upstream")
    monkeypatch.setenv("MNE_DATA", str(archives))
    monkeypatch.setenv("MNE_DATASETS_EEGBCI_PATH", str(archives))
    monkeypatch.setenv("_MNE_FAKE_HOME_DIR", str(tmp_path))
    from moabb.datasets import PhysionetMI

    source = PhysionetMI(imagined=False, executed=True)
    source.feet_runs = []
    runs = source._get_single_subject_data(1)["0"]
    data = load_dataset(of_source("eegbci"), Paths(tmp_path, archives))
    import mne

    raw = runs["2"]  # run 11
    events = mne.find_events(raw, verbose="error")
    events = events[
        np.isin(events[:, 2], [source.events["left_hand"], source.events["right_hand"]])
    ]
    labels = (events[:, 2] == source.events["right_hand"]).astype(int)
    assert data.test.labels.tolist() == labels.tolist()
    values = raw.get_data(picks="eeg", units="uV")
    expected = np.stack([values[:, first : first + 160] for first in events[:, 0]])
    # moabb hands its recordings on through float64 volts
    np.testing.assert_allclose(data.test.images.numpy(), expected, atol=1e-3)


@pytest.mark.slow
def test_fake_data_set_of_moabb_is_read_and_trained(tmp_path, of_source, monkeypatch):
    fake = pytest.importorskip("moabb.datasets.fake")
    edfio = pytest.importorskip("edfio")
    source = fake.FakeDataset(
        event_list=("T1", "T2"), n_sessions=1, n_runs=3, n_subjects=1, seed=0, sfreq=160,
        duration=30, n_events=8, annotations=True,
    )  # fmt: skip
    runs = dict(zip((3, 7, 11), source._get_single_subject_data(1)["0"].values(), strict=True))
    for number, raw in runs.items():
        path = tmp_path / eegbci.FOLDER / eegbci.file_of(1, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        signals = [
            edfio.EdfSignal(
                values, 160, label=name, physical_dimension="uV", physical_range=(-200, 200)
            )
            for name, values in zip(raw.ch_names, raw.get_data("eeg", units="uV"), strict=False)
        ]
        cues = [
            edfio.EdfAnnotation(each["onset"], 1.0, each["description"]) for each in raw.annotations
        ]
        edfio.Edf(signals, annotations=cues).write(path)
    window = {"step": "window", "from_s": 0.0, "to_s": 3.0}
    data = load_dataset(
        of_source("eegbci", preprocessing=(window,)), Paths(tmp_path / "data", tmp_path)
    )
    assert data.test.labels.tolist() == [0, 1] * 4
    values = runs[11].get_data("eeg", units="uV")
    starts = np.round(runs[11].annotations.onset * 160).astype(int)
    expected = np.stack([values[:, first : first + 480] for first in starts])
    np.testing.assert_allclose(data.test.images.numpy(), expected, atol=400 / 2**16)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANNEAL_ARCHIVES", str(tmp_path))
    run_command.main([
        "dataset=eegbci", "dataset.signal.subjects=[1]", "dataset.signal.crop_samples=null",
        "dataset.signal.preprocessing=[{step: window, from_s: 0.0, to_s: 3.0}]",
        "model=eeg_shallow", "+model.arguments.final_length=20", "scheduler=constant",
        "scheduler.lr=0.01", "training.batch_size=8",
        "training.length=4 epochs", "hardware=cpu", "hardware.threads=1", "tracking=off",
    ])  # fmt: skip
    (result,) = tmp_path.glob("multirun/*/seed-0/result.json")
    found = json.loads(result.read_text())
    assert (found["status"], found["updates"]) == ("finished", 8)
    assert (found["test_accuracy_pct@final"] * 8 / 100).is_integer()  # of 8 trials of the last run


@pytest.mark.slow
def test_standardising_is_braindecodes():
    source = pytest.importorskip("braindecode.preprocessing")
    values = 50 * np.cumsum(np.random.default_rng(3).standard_normal((3, 3000)), axis=1)
    recording = Recording(
        file="a.edf", channels=("C1", "C2", "C3"), values=values, sampling_hz=160.0,
        onsets_s=np.zeros(0), labels=(), kept=np.ones(0, bool),
    )  # fmt: skip
    found = Standardise(factor=1e-3, first_samples=1000, floor=1e-4)(recording).values
    expected = source.exponential_moving_standardize(
        values, factor_new=1e-3, init_block_size=1000, eps=1e-4
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)  # measured: 0


@pytest.mark.slow
def test_download_runs_apart_and_moves_whole_files(tmp_path, monkeypatch, of_source):
    """moabb itself is replaced by a module that writes where it is told, and by whom."""
    write_runs(tmp_path / "server")
    fake = tmp_path / "fake" / "moabb"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("")
    (fake / "datasets.py").write_text(
        "import os, pathlib, shutil\n"
        "class PhysionetMI:\n"
        "    def __init__(self, imagined, executed): assert executed and not imagined\n"
        "    def data_path(self, subject):\n"
        "        assert os.environ['MOABB_DOWNLOAD_PROVIDER'] == 'upstream'\n"
        "        assert pathlib.Path(os.environ['_MNE_FAKE_HOME_DIR']).is_dir()\n"
        f"        shutil.copytree({str(tmp_path / 'server')!r}, os.environ['MNE_DATA'],"
        " dirs_exist_ok=True)\n"
        "Schirrmeister2017 = None\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    monkeypatch.setattr(fetch, "_obstacle", lambda _source: None)
    data = load_dataset(of_source("eegbci"), Paths(tmp_path / "data"))
    assert len(data.train) == 12
    assert (tmp_path / "data" / eegbci.FOLDER / "S001" / "S001R03.edf").is_file()
    (tmp_path / "data" / eegbci.FOLDER / "S001" / "S001R03.edf").unlink()
    (fake / "datasets.py").write_text("raise OSError('the server is away')\n")
    with pytest.raises(OSError, match=r"subject 1 cannot be downloaded: OSError: the server is aw"):
        load_dataset(of_source("eegbci"), Paths(tmp_path / "data"))
