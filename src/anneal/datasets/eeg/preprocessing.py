"""Preprocessing of a recording, step by step, and its cut into trials.

The steps are an ordered list in the configuration, ``dataset.signal.preprocessing``. Those of the
High-Gamma data set follow robintibor/high-gamma-dataset, example.py at 56c7b3a.

Shapes: C channels, T samples of a recording, N trials, S samples of a trial.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from anneal.config.strict import POSITIVE, SHARE, Rule, one_of, parse
from anneal.io.text import did_you_mean

Floats = npt.NDArray[np.float64]
SOME = Rule("must name at least one channel", lambda v: 0 < len(v) == len(set(v)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """One continuous recording with its cues.

    Args:
        file: for messages.
        channels: names, in the order of the rows.
        values: float64 ``(C, T)``, in microvolts until a step changes that.
        sampling_hz: samples in a second.
        onsets_s: of each cue, seconds after the first sample.
        labels: the class of each cue.
        kept: whether the trial of each cue has been rejected (False) by a step.
    """

    file: str
    channels: tuple[str, ...]
    values: Floats
    sampling_hz: float
    onsets_s: Floats
    labels: tuple[str, ...]
    kept: npt.NDArray[np.bool_]

    def samples_at(self, seconds: float) -> npt.NDArray[np.int64]:
        """Return the sample nearest to ``seconds`` after each cue."""
        cues = np.rint(self.onsets_s * self.sampling_hz).astype(np.int64)
        return cues + round(seconds * self.sampling_hz)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trials:
    """Trials of one split.

    Args:
        signals: float32 ``(N, C, S)``.
        labels: int64 ``(N,)``.
        rejected: trials that a step has left out.
        outside: trials whose window is not all in the recording.
    """

    signals: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    rejected: int
    outside: int


@dataclass(frozen=True, kw_only=True)
class Reject:
    """Leave trials out that reach ``above_uv`` anywhere between two moments after their cue."""

    above_uv: Annotated[float, POSITIVE]
    from_s: float
    to_s: float

    def __call__(self, recording: Recording) -> Recording:
        """Mark the trials."""
        spans = zip(recording.samples_at(self.from_s), recording.samples_at(self.to_s), strict=True)
        parts = (recording.values[:, max(first, 0) : last] for first, last in spans)
        calm = [part.size == 0 or bool(np.abs(part).max() < self.above_uv) for part in parts]
        return dataclasses.replace(recording, kept=recording.kept & np.array(calm, bool))


@dataclass(frozen=True, kw_only=True)
class Pick:
    """Take channels by name, in this order."""

    channels: Annotated[tuple[str, ...], SOME]

    def __call__(self, recording: Recording) -> Recording:
        """Take them.

        Raises:
            ValueError: one is not in the recording.
        """
        known = {name: row for row, name in enumerate(recording.channels)}
        for name in self.channels:
            if name not in known:
                raise ValueError(
                    f"{recording.file}: there is no channel {name!r}{did_you_mean(name, known)}"
                )
        rows = [known[name] for name in self.channels]
        return dataclasses.replace(recording, channels=self.channels, values=recording.values[rows])


@dataclass(frozen=True, kw_only=True)
class Resample:
    """Change the sampling rate by a polyphase filter of linear phase (scipy's, Kaiser 5)."""

    hz: Annotated[float, POSITIVE]

    def __call__(self, recording: Recording) -> Recording:
        """Resample every channel."""
        from scipy.signal import resample_poly

        ratio = (
            Fraction(self.hz).limit_denominator()
            / Fraction(recording.sampling_hz).limit_denominator()
        )
        if ratio == 1:
            return recording
        changed = resample_poly(recording.values, ratio.numerator, ratio.denominator, axis=1)
        return dataclasses.replace(recording, values=changed, sampling_hz=self.hz)


@dataclass(frozen=True, kw_only=True)
class Highpass:
    """Butterworth high-pass: causal as the authors', or forward and backward (zero phase)."""

    hz: Annotated[float, POSITIVE]
    order: Annotated[int, POSITIVE]
    phase: Annotated[str, one_of("causal", "zero")]

    def __call__(self, recording: Recording) -> Recording:
        """Filter every channel.

        Raises:
            ValueError: the frequency is not below half the sampling rate.
        """
        from scipy.signal import butter, sosfilt, sosfiltfilt

        if self.hz >= recording.sampling_hz / 2:
            raise ValueError(
                f"{recording.file}: a high-pass must be below half the sampling rate of "
                f"{recording.sampling_hz:g} Hz, got {self.hz:g}"
            )
        sections = butter(self.order, self.hz, "highpass", fs=recording.sampling_hz, output="sos")
        run = sosfilt if self.phase == "causal" else sosfiltfilt
        return dataclasses.replace(recording, values=run(sections, recording.values))


@dataclass(frozen=True, kw_only=True)
class Standardise:
    """Subtract a moving mean and divide by a moving standard deviation (HBM 2017, section 2.7).

    Both are averages with exponentially decaying weights over all samples so far; the first samples
    are standardised together instead, by their own mean and deviation.
    """

    factor: Annotated[float, SHARE]  # weight of the newest sample
    first_samples: Annotated[int, POSITIVE]
    floor: Annotated[float, POSITIVE]  # the least deviation that is divided by

    def __call__(self, recording: Recording) -> Recording:
        """Standardise every channel."""
        from scipy.signal import lfilter

        keep = 1.0 - self.factor

        def moving_mean(values: Floats) -> Floats:
            weights = lfilter([1.0], [1.0, -keep], np.ones(values.shape[1]))
            return np.asarray(lfilter([1.0], [1.0, -keep], values, axis=1) / weights)

        values = recording.values
        centred = values - moving_mean(values)
        deviation = np.sqrt(moving_mean(centred**2))
        standard = centred / np.maximum(deviation, self.floor)
        first = values[:, : self.first_samples]
        own = np.maximum(first.std(1, keepdims=True), self.floor)
        standard[:, : self.first_samples] = (first - first.mean(1, keepdims=True)) / own
        return dataclasses.replace(recording, values=standard)


@dataclass(frozen=True, kw_only=True)
class Window:
    """Cut a trial between two moments after its cue; the last step."""

    from_s: float
    to_s: float

    def cut(self, recording: Recording, classes: Sequence[str]) -> Trials:
        """Return the trials of these classes that no step has rejected, in recorded order."""
        number = {name: label for label, name in enumerate(classes)}
        length = round((self.to_s - self.from_s) * recording.sampling_hz)
        starts = recording.samples_at(self.from_s)
        asked = np.array([label in number for label in recording.labels], bool)
        inside = (starts >= 0) & (starts + length <= recording.values.shape[1])
        chosen = np.flatnonzero(asked & inside & recording.kept)
        signals = np.empty((len(chosen), len(recording.channels), length), np.float32)
        for place, cue in enumerate(chosen):
            signals[place] = recording.values[:, starts[cue] : starts[cue] + length]
        return Trials(
            signals=signals,
            labels=np.array([number[recording.labels[cue]] for cue in chosen], np.int64),
            rejected=int((asked & inside & ~recording.kept).sum()),
            outside=int((asked & ~inside).sum()),
        )


Step = Callable[[Recording], Recording]
STEPS: dict[str, type[Any]] = {
    "reject": Reject,
    "pick": Pick,
    "resample": Resample,
    "highpass": Highpass,
    "standardise": Standardise,
}


@dataclass(frozen=True)
class Preprocessing:
    """The steps of a configuration, and the window that ends them."""

    steps: tuple[Step, ...]
    window: Window

    def __call__(
        self, recording: Recording, classes: Sequence[str]
    ) -> tuple[Trials, tuple[str, ...], float]:
        """Return a recording's trials, its channels and its sampling rate after the steps."""
        for step in self.steps:
            recording = step(recording)
        trials = self.window.cut(recording, classes)
        return trials, recording.channels, recording.sampling_hz


def read_preprocessing(entries: Sequence[Mapping[str, Any]], *, where: str) -> Preprocessing:
    """Read ``dataset.signal.preprocessing``: mappings with ``step`` and its arguments.

    Raises:
        ValueError: a step is unknown, an argument is wrong, or the list does not end in the one
            window; names the file and the key.
    """
    names = [*STEPS, "window"]
    steps: list[Any] = []
    for place, entry in enumerate(entries):
        key = f"dataset.signal.preprocessing[{place}]"
        arguments = dict(entry)
        name = arguments.pop("step", None)
        if name not in names:
            raise ValueError(
                f"{where}: {key}.step must be one of {', '.join(names)}, got {name!r}"
                f"{did_you_mean(str(name), names)}"
            )
        if (name == "window") != (place == len(entries) - 1):
            raise ValueError(f"{where}: {key} must be the window at the end, and nowhere else")
        steps.append(parse(STEPS.get(name, Window), arguments, where=where, key=key))
    if not steps:
        raise ValueError(f"{where}: dataset.signal.preprocessing must end in a window, it is empty")
    *before, window = steps
    if window.to_s <= window.from_s:
        raise ValueError(
            f"{where}: a window must end after it begins at {window.from_s:g} s, got "
            f"{window.to_s:g}"
        )
    return Preprocessing(tuple(before), window)
