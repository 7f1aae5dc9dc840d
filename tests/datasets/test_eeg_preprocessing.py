"""Each step of a recording's preprocessing, against plain numpy and scipy."""

import dataclasses

import numpy as np
import pytest
from scipy import signal

from anneal.datasets.eeg.preprocessing import (
    Highpass,
    Pick,
    Recording,
    Reject,
    Resample,
    Standardise,
    Window,
    read_preprocessing,
)

HZ = 160.0


def make_recording(seconds: float = 20.0, channels: int = 3, **changes) -> Recording:
    rng = np.random.default_rng(3)
    recording = Recording(
        file="a.edf",
        channels=tuple(f"C{n}" for n in range(channels)),
        values=50 * np.cumsum(rng.standard_normal((channels, int(seconds * HZ))), axis=1),
        sampling_hz=HZ,
        onsets_s=np.array([1.0, 6.0, 11.0, 16.5]),
        labels=("left", "right", "left", "rest"),
        kept=np.ones(4, bool),
    )
    return dataclasses.replace(recording, **changes)


def real_recording(archives) -> Recording:
    pytest.importorskip("mne")
    from anneal.datasets.eeg.edf import read_edf
    from anneal.datasets.eeg.eegbci import CUES, FOLDER, channel_name

    file = archives / FOLDER / "S001" / "S001R03.edf"
    return read_edf(file, sampling_hz=HZ, rename=channel_name, classes=CUES[3])


@pytest.fixture(params=["random", pytest.param("real", marks=pytest.mark.archives)])
def recording(request):
    if request.param == "real":
        return real_recording(request.getfixturevalue("archives"))
    return make_recording()


def test_standardising_is_the_weighted_average_of_all_samples_so_far(recording):
    found = Standardise(factor=1e-3, first_samples=1000, floor=1e-4)(recording).values
    values = recording.values[:2, :3000]
    expected = np.empty_like(values)
    mean = weight = square = 0.0
    for t in range(values.shape[1]):  # the sums of the definition, a sample at a time
        weight = 1 + 0.999 * weight
        mean = values[:, t] + 0.999 * mean
        centred = values[:, t] - mean / weight
        square = centred**2 + 0.999 * square
        expected[:, t] = centred / np.maximum(np.sqrt(square / weight), 1e-4)
    first = values[:, :1000]
    expected[:, :1000] = (first - first.mean(1, keepdims=True)) / first.std(1, keepdims=True)
    np.testing.assert_allclose(found[:2, :3000], expected, atol=1e-6)  # measured: 1e-12


def test_causal_high_pass_is_the_authors_filter(recording):
    found = Highpass(hz=4.0, order=3, phase="causal")(recording).values
    numerator, denominator = signal.butter(3, 4.0 / (HZ / 2), "highpass")
    expected = signal.lfilter(numerator, denominator, recording.values, axis=1)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-6)  # measured: 1e-13
    changed = recording.values.copy()
    changed[:, 1500:] += 100.0
    later = dataclasses.replace(recording, values=changed)
    after = Highpass(hz=4.0, order=3, phase="causal")(later).values
    np.testing.assert_array_equal(after[:, :1500], found[:, :1500])


def test_zero_phase_high_pass_shifts_no_wave():
    time = np.arange(int(20 * HZ)) / HZ
    wave = np.sin(2 * np.pi * 10 * time)[None]
    recording = make_recording(channels=1, values=wave + 3.0)
    found = Highpass(hz=2.0, order=3, phase="zero")(recording).values
    inner = slice(800, -800)
    np.testing.assert_allclose(found[:, inner], wave[:, inner], atol=2e-4)  # measured: 6e-5
    causal = Highpass(hz=2.0, order=3, phase="causal")(recording).values
    assert np.abs(causal[:, inner] - wave[:, inner]).max() > 0.1


def test_resampling_keeps_a_slow_wave_and_its_cues():
    time = np.arange(int(20 * HZ)) / HZ
    recording = make_recording(channels=1, values=np.sin(2 * np.pi * 5 * time)[None])
    found = Resample(hz=100.0)(recording)
    assert (found.sampling_hz, found.values.shape) == (100.0, (1, 2000))
    expected = np.sin(2 * np.pi * 5 * np.arange(2000) / 100.0)
    inner = slice(100, -100)
    np.testing.assert_allclose(found.values[0, inner], expected[inner], atol=2e-3)  # 1e-3
    assert found.samples_at(0.5).tolist() == [150, 650, 1150, 1700]
    assert Resample(hz=HZ)(recording) is recording


def test_trial_that_reaches_the_limit_anywhere_in_the_span_is_rejected():
    quiet = np.zeros((2, int(20 * HZ)))
    quiet[1, int(7.0 * HZ)] = -800.0  # of the second trial
    quiet[0, int(15.2 * HZ)] = 9000.0  # after the third, before the fourth
    found = Reject(above_uv=800.0, from_s=0.0, to_s=4.0)(make_recording(values=quiet))
    assert found.kept.tolist() == [True, False, True, True]
    quiet[1, int(7.0 * HZ)] = -799.9
    found = Reject(above_uv=800.0, from_s=0.0, to_s=4.0)(make_recording(values=quiet))
    assert found.kept.all()


def test_channels_are_picked_by_name_in_the_order_asked():
    recording = make_recording()
    found = Pick(channels=("C2", "C0"))(recording)
    np.testing.assert_array_equal(found.values, recording.values[[2, 0]])
    with pytest.raises(ValueError, match=r"^a\.edf: there is no channel 'C3'; there is C0, C1, C2"):
        Pick(channels=("C0", "C3"))(recording)


def test_window_cuts_the_classes_asked_and_counts_what_it_leaves_out():
    recording = make_recording(kept=np.array([True, False, True, True]))
    trials = Window(from_s=-0.5, to_s=4.0).cut(recording, ("left", "right", "rest"))
    assert trials.labels.tolist() == [0, 0]  # one is rejected, the last leaves the recording
    assert (trials.rejected, trials.outside) == (1, 1)
    assert trials.signals.dtype == np.float32
    np.testing.assert_array_equal(
        trials.signals[1], recording.values[:, 1680:2400].astype(np.float32)
    )
    assert len(Window(from_s=0.0, to_s=1.0).cut(recording, ("rest", "left")).labels) == 3


WINDOW = {"step": "window", "from_s": 0.0, "to_s": 4.0}
WRONG = [
    ([], r"dataset\.signal\.preprocessing must end in a window, it is empty"),
    ([{"step": "highpas"}, WINDOW], r"preprocessing\[0\]\.step must be one of .*'highpass'\?"),
    ([WINDOW, WINDOW], r"preprocessing\[0\] must be the window at the end"),
    ([{"step": "resample", "hz": 0.0}, WINDOW], r"preprocessing\[0\]\.hz must be positive"),
    ([{"step": "resample"}, WINDOW], r"missing key dataset\.signal\.preprocessing\[0\]\.hz"),
    ([WINDOW | {"to_s": 0.0}], r"a window must end after it begins at 0 s, got 0"),
    (
        [{"step": "highpass", "hz": 4.0, "order": 3, "phase": "linear"}, WINDOW],
        r"preprocessing\[0\]\.phase must be one of causal, zero, got 'linear'",
    ),
]


@pytest.mark.parametrize(("entries", "said"), WRONG)
def test_wrong_list_of_steps_is_refused_with_its_place(entries, said):
    with pytest.raises(ValueError, match=rf"^conf/x\.yaml: .*{said}"):
        read_preprocessing(entries, where="conf/x.yaml")


def test_high_pass_above_half_the_rate_is_refused():
    with pytest.raises(ValueError, match="must be below half the sampling rate of 160 Hz, got 90"):
        Highpass(hz=90.0, order=3, phase="causal")(make_recording())
