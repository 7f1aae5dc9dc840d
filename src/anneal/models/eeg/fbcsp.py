"""Filter-bank common spatial patterns (Ang et al. 2008), which networks are compared with.

Common spatial patterns of each band, the features with the most mutual information, and a linear
discriminant with a shrunk covariance. From MNE and scikit-learn, which are imported when it is fit.

Shapes: N trials, C sensors, T samples, F features.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Trials = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
BANDS = tuple((float(low), float(low + 4)) for low in range(4, 40, 4))  # Ang's nine, in Hz


class FBCSP:
    """Fit on trials ``(N, C, T)`` and predict their classes.

    Args:
        sampling_hz: Samples in a second.
        bands: Lower and upper frequency of each, Hz.
        components: Spatial patterns of each band.
        features: Kept of all bands; all where there are no more.
    """

    def __init__(
        self,
        *,
        sampling_hz: float,
        bands: tuple[tuple[float, float], ...] = BANDS,
        components: int = 4,
        features: int = 8,
    ) -> None:
        for low, high in bands:
            if not 0 < low < high < sampling_hz / 2:
                raise ValueError(
                    f"a band must rise from above 0 to below {sampling_hz / 2:g} Hz, got {low:g} "
                    f"to {high:g}"
                )
        self.sampling_hz, self.bands = sampling_hz, bands
        self.components, self.features = components, features
        self._patterns: list[Any] = []
        self._classifier: Any = None

    def describe(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        return {
            "name": "fbcsp",
            "bands": [list(band) for band in self.bands],
            "components": self.components,
            "features": self.features,
        }

    def fit(self, trials: Trials, labels: Labels) -> "FBCSP":
        """Learn patterns, features and discriminant from labelled trials."""
        from functools import partial

        from mne import use_log_level
        from mne.decoding import CSP
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.feature_selection import SelectKBest, mutual_info_classif
        from sklearn.pipeline import make_pipeline

        self._patterns = []
        for band in self.bands:
            patterns = CSP(self.components, reg="ledoit_wolf", log=True)
            with use_log_level("error"):
                self._patterns.append(patterns.fit(self._filtered(trials, band), labels))
        features = self._features(trials)
        self._classifier = make_pipeline(
            SelectKBest(
                partial(mutual_info_classif, random_state=0),
                k=min(self.features, features.shape[1]),
            ),
            LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        ).fit(features, labels)
        return self

    def predict(self, trials: Trials) -> Labels:
        """Return the class of each trial."""
        return np.asarray(self._classifier.predict(self._features(trials)), np.int64)

    def accuracy_pct(self, trials: Trials, labels: Labels) -> float:
        """Return the share of trials whose class is right, 0..100."""
        return float(100 * (self.predict(trials) == labels).mean())

    def _features(self, trials: Trials) -> npt.NDArray[np.float64]:
        """Return the log power of every pattern, ``(N, F)``."""
        return np.concatenate(
            [
                patterns.transform(self._filtered(trials, band))
                for band, patterns in zip(self.bands, self._patterns, strict=True)
            ],
            axis=1,
        )

    def _filtered(self, trials: Trials, band: tuple[float, float]) -> npt.NDArray[np.float64]:
        from scipy.signal import butter, sosfiltfilt

        sections = butter(4, band, "bandpass", fs=self.sampling_hz, output="sos")
        return np.asarray(sosfiltfilt(sections, trials.astype(np.float64), axis=2))
