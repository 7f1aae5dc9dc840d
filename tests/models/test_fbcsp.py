"""The decoder without a network finds a planted rhythm, and nothing in noise."""

import numpy as np
import pytest

from anneal.models.eeg.fbcsp import BANDS, FBCSP

HZ = 128.0


def make_trials(count: int, *, strength: float, seed: int):
    """Return trials of six sensors, half of them with a 10 Hz rhythm on a mixture of them."""
    pytest.importorskip("mne")
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    trials = rng.standard_normal((count, 6, 256))
    wave = np.sin(2 * np.pi * 10 * np.arange(256) / HZ + rng.uniform(0, 6, (count, 1)))
    place = np.array([[1, -1, 0, 0, 1, 0], [0, 0, 1, 1, 0, -1]])[labels]
    return (trials + strength * place[:, :, None] * wave[:, None]).astype(np.float32), labels


@pytest.mark.parametrize("strength", [0.5, 0.0])
def test_rhythm_is_found_where_it_is_and_its_absence_is_chance(strength):
    decoder = FBCSP(sampling_hz=HZ).fit(*make_trials(80, strength=strength, seed=0))
    accuracy = decoder.accuracy_pct(*make_trials(200, strength=strength, seed=1))
    assert accuracy > 95 if strength else abs(accuracy - 50) < 11  # three standard errors


def test_bands_are_angs_nine():
    assert tuple((low, low + 4.0) for low in (4, 8, 12, 16, 20, 24, 28, 32, 36)) == BANDS


def test_band_beyond_half_the_rate_is_refused():
    with pytest.raises(ValueError, match="a band must rise from above 0 to below 32 Hz, got 28 to"):
        FBCSP(sampling_hz=64.0)
