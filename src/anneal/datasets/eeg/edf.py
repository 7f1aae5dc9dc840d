"""EDF files: the size that a header gives, and the recording as MNE reads it."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np

from anneal.datasets.eeg.preprocessing import Recording

_VERSION = b"0       "
_HEADER_BYTES = 256  # of the file, and again of each signal
_SAMPLE_BYTES = 2


def check_edf(path: Path) -> None:
    """Compare a file's size with the size in its header, without MNE.

    Raises:
        ValueError: it is no EDF file, or is cut short.
    """
    with path.open("rb") as file:
        first = file.read(_HEADER_BYTES)
        try:
            if not first.startswith(_VERSION):
                raise ValueError
            header_bytes, records, signals = (
                int(first[184:192]),
                int(first[236:244]),
                int(first[252:]),
            )
            file.seek(_HEADER_BYTES + 216 * signals)
            counts = file.read(8 * signals)
            samples = sum(int(counts[8 * n : 8 * n + 8]) for n in range(signals))
        except ValueError:
            raise ValueError(f"{path} is no EDF file; delete it to have it made again") from None
    expected, found = header_bytes + records * samples * _SAMPLE_BYTES, path.stat().st_size
    if found < expected:
        raise ValueError(
            f"{path} is cut short: its header promises {expected} bytes, it has {found}; delete it "
            "to have it downloaded again"
        )


def require_extra(source: str) -> None:
    """Refuse when the extra ``eeg`` is not installed.

    Raises:
        ValueError: says what to type.
    """
    if importlib.util.find_spec("mne") is None:
        raise ValueError(
            f"dataset.source: {source} needs MNE, which is not installed; type `make setup "
            "EXTRAS=eeg`"
        )


def read_edf(
    path: Path,
    *,
    sampling_hz: float,
    rename: Callable[[str], str] = str,
    classes: dict[str, str] | None = None,
) -> Recording:
    """Read the EEG channels of a file, in microvolts, and its annotations as cues.

    Args:
        path: of the file.
        sampling_hz: what every recording of the set has.
        rename: the file's name of a channel -> ours.
        classes: annotation -> class; others are left out. None: each is the class it names.

    Raises:
        ValueError: the file is cut short, no EDF, or of another sampling rate; names it.
    """
    check_edf(path)
    import mne  # 0.6 s: only where a file is read

    raw = mne.io.read_raw_edf(path, infer_types=True, preload=False, verbose="error")
    found = float(raw.info["sfreq"])
    if found != sampling_hz:
        raise ValueError(
            f"{path} has {found:g} samples a second, and the others of its set {sampling_hz:g}; "
            "leave this subject out"
        )
    raw.pick("eeg", verbose="error").load_data(verbose="error")
    annotations = raw.annotations
    names = [str(text) for text in annotations.description]
    wanted = [place for place, name in enumerate(names) if classes is None or name in classes]
    labels = tuple(names[place] if classes is None else classes[names[place]] for place in wanted)
    return Recording(
        file=str(path),
        channels=tuple(rename(name) for name in raw.ch_names),
        values=np.asarray(raw.get_data(units="uV"), np.float64),
        sampling_hz=found,
        onsets_s=np.asarray(annotations.onset, np.float64)[wanted],
        labels=labels,
        kept=np.ones(len(wanted), bool),
    )
