"""Batches of crops: a window of each trial, drawn again for each update.

Shapes: B trials of a batch, C sensors, S samples of a crop.
"""

import torch
from torch import Tensor

from anneal.datasets.batches import TrainingBatches, stream_seed


class CropBatches:
    """Training batch number ``index`` as a function of it: the trials' crops, and their labels.

    Where a crop starts is drawn for each trial from a stream keyed by (seed, index), on the CPU:
    the same crops on every device.

    Args:
        trials: batches of whole trials.
        samples: of a trial.
        crop_samples: of a crop; None: the whole trial.
        outputs: that the network gives for a crop; each has the label of the trial.
        seed: of the run.
    """

    def __init__(
        self,
        trials: TrainingBatches,
        *,
        samples: int,
        crop_samples: int | None,
        outputs: int,
        seed: int,
    ) -> None:
        self._trials = trials
        self._crop = crop_samples or samples
        self._starts = samples - self._crop + 1  # that a crop may have
        self._outputs = outputs
        self._seed = seed
        self._generator = torch.Generator()  # seeded again before every use

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the trials."""
        return self._trials.steps_per_epoch

    @property
    def num_images(self) -> int:
        """Trials that an epoch draws from."""
        return self._trials.num_images

    def indices_of(self, index: int) -> Tensor:
        """Return which trials of the split batch ``index`` is made of, ``(B,)``."""
        return self._trials.indices_of(index)

    def __call__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return crops float32 ``(B, C, S)`` and labels int64 ``(B, outputs)`` on the device."""
        signals, labels = self._trials(index)
        if self._starts > 1:
            starts = self.starts_of(index, len(signals)).to(signals.device, non_blocking=True)
            places = starts[:, None] + torch.arange(self._crop, device=signals.device)
            places = places[:, None].expand(-1, signals.shape[1], -1)
            signals = signals.gather(2, places)
        return signals, labels[:, None].expand(-1, self._outputs)

    def starts_of(self, index: int, count: int) -> Tensor:
        """Return the first sample of each crop of batch ``index``."""
        self._generator.manual_seed(stream_seed(self._seed, "crop", index))
        return torch.randint(self._starts, (count,), generator=self._generator)
