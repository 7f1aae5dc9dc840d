"""Set-up of a run: images, hardware settings, optimizer, batches, learner."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from anneal.config.paths import Paths
from anneal.config.schema import ExperimentConfig, OptimizerConfig
from anneal.datasets import Normalise, load_dataset, statistics_of
from anneal.datasets.batches import EvaluationBatches, TrainingBatches
from anneal.datasets.eeg.crops import CropBatches
from anneal.datasets.gathered import GatheredBatches
from anneal.datasets.identity import identity_of
from anneal.datasets.image_data import ImageData, Images
from anneal.io.files import read_json
from anneal.io.terminal import say
from anneal.models.build import build_model, parameter_groups
from anneal.models.eeg.decoder import TrialDecoder, build_decoder
from anneal.models.layers import freeze_backbone
from anneal.models.pretrained import State, load_weights, read_weights
from anneal.runs.hardware import Settings, decide
from anneal.runs.inputs import Loaded
from anneal.runs.kernels import apply_kernels
from anneal.runs.last_batch import check_batch_of_one
from anneal.runs.layout import identity_file
from anneal.runs.optimizers import OPTIMIZERS
from anneal.runs.plan import Bounds, Plan, plan_run
from anneal.training.captured import captured
from anneal.training.evaluation import Measurement, measure, predict
from anneal.training.loop import Learner, Training, evenly_spread
from anneal.training.parts import ALONE, Parts
from anneal.training.scheduled_lr import ScheduledLR
from anneal.training.seeding import seed_everything
from anneal.training.together import check_sizes

EVALUATION_BATCH = 500


@dataclass(frozen=True)
class ExperimentSetup:
    """Data and settings of one experiment, shared by all its seeds."""

    experiment: ExperimentConfig
    data: ImageData
    settings: Settings
    normalise: Normalise
    parts: Parts = ALONE  # the processes that train and measure together
    weights: State | None = None  # pretrained, loaded into each network

    def learner(
        self, seed: int, *, indices: torch.Tensor | None = None, total_steps: int | None = None
    ) -> Learner:
        """Build network, optimizer and batches of one seed, from its random streams.

        Args:
            seed: of every random stream.
            indices: of the training images to use; None: all.
            total_steps: number of updates; None: an epoch or more.

        Raises:
            ValueError: batch normalisation, or parts together, cannot take an epoch's last batch.
        """
        seed_everything(seed)
        config, device = self.experiment, torch.device(self.settings.device)
        model = self.model()
        optimizer = build_optimizer(
            config.optimizer,
            model,
            fused=device.type in ("cpu", "cuda"),
            layer_decay=config.fine_tuning.layer_decay,
        )
        accumulation, together = config.training.accumulation, self.settings.parts == "together"
        kind = GatheredBatches if self.settings.inputs == "gathered" else TrainingBatches
        batches = kind(
            self.data.train,
            config=config.dataset,
            batch_size=config.training.batch_size,
            seed=seed,
            device=device,
            normalise=self.normalise,
            channels_last=self.settings.channels_last,
            indices=indices,
            following=functools.partial(self.parts.following, accumulation=accumulation),
        )
        last = batches.steps_per_epoch - 1
        if total_steps is None or last < total_steps * accumulation:
            check_batch_of_one(model, batches, last)
            if together and accumulation > 1:
                check_sizes([batches.batch_size, batches.num_images_of(last)])
        signal = config.dataset.signal
        return Learner(
            model=model,
            optimizer=optimizer,
            batches=batches if signal is None else crop_batches(batches, model, self.data, seed),
            precision=self.settings.dtype,
            accumulation=accumulation,
            label_smoothing=config.training.label_smoothing,
            training_loss=getattr(model, "training_loss", None),
            closed_blocks_coast=getattr(model, "closed_blocks_coast", False),
            seed=seed,
            parts=self.parts,
            together=together,
            interleaved=batches.interleaved if isinstance(batches, GatheredBatches) else None,
        )

    def model(self) -> nn.Module:
        """Build the network with this machine's device, memory format, kernels and compiler."""
        model = self.build()
        fine_tuning = self.experiment.fine_tuning
        if self.weights is not None:
            load_weights(model, self.weights, where=str(fine_tuning.weights))
        if fine_tuning.freeze:
            freeze_backbone(model)
        if self.experiment.dataset.signal is not None and self.settings.channels_last:
            raise ValueError(
                f"conf/hardware/{self.experiment.hardware.name}.yaml: memory_format must be "
                "contiguous for signals, got channels_last"
            )
        layout = torch.channels_last if self.settings.channels_last else torch.contiguous_format
        # torch's annotations of Module.to leave memory_format out
        model.to(device=self.settings.device, memory_format=layout)  # type: ignore[call-overload]
        if self.settings.kernels == "cpu":
            apply_kernels(model, self.settings.dtype)
        if self.settings.compile:
            model.compile()
        return model

    def build(self) -> nn.Module:
        """Build the network with random weights, on the CPU."""
        return build_network(
            self.experiment, shape=self.data.image_shape, num_classes=self.data.num_classes
        )

    def evaluate(
        self, model: nn.Module, split: Images, *, indices: torch.Tensor | None = None
    ) -> Callable[[], Measurement]:
        """Return a function that evaluates ``model`` on images of a split."""
        parts = self.parts
        batches = self._batches(split, indices, share=(parts.rank, parts.size))
        return lambda: measure(model, batches, precision=self.settings.dtype, parts=parts)

    def predict(self, model: nn.Module, split: Images) -> torch.Tensor:
        """Return the softmax outputs of ``model`` for all images of a split, (images, classes)."""
        return predict(model, self._batches(split, None), precision=self.settings.dtype)

    def _batches(
        self, split: Images, indices: torch.Tensor | None, *, share: tuple[int, int] = (0, 1)
    ) -> EvaluationBatches:
        return EvaluationBatches(
            split,
            batch_size=EVALUATION_BATCH,
            device=torch.device(self.settings.device),
            normalise=self.normalise,
            channels_last=self.settings.channels_last,
            indices=indices,
            crop=self.experiment.dataset.crop,
            share=share,
        )


def build_network(
    experiment: ExperimentConfig, *, shape: tuple[int, ...], num_classes: int
) -> nn.Module:
    """Build an experiment's network for images (C, H, W), or signals (channels, samples).

    Raises:
        ValueError: it cannot take them.
    """
    config, signal = experiment.model, experiment.dataset.signal
    if signal is not None:
        channels, samples = shape
        return build_decoder(
            architecture=config.architecture,
            arguments=dict(config.arguments),
            num_classes=num_classes,
            channels=channels,
            samples=samples,
            crop_samples=signal.crop_samples,
        )
    channels, height, _ = shape
    return build_model(
        library=config.library,
        architecture=config.architecture,
        arguments=dict(config.arguments),
        num_classes=num_classes,
        channels=channels,
        image_size=height,
        small_images=config.small_images,
    )


def crop_batches(
    trials: TrainingBatches, model: nn.Module, data: ImageData, seed: int
) -> CropBatches:
    """Return batches of what a decoder trains on: crops, with a label for each of its outputs."""
    assert isinstance(model, TrialDecoder)
    return CropBatches(
        trials,
        samples=data.image_shape[1],
        crop_samples=model.crop_samples,
        outputs=model.outputs,
        seed=seed,
    )


def assemble_setup(
    experiment: ExperimentConfig, data: ImageData, settings: Settings, *, parts: Parts = ALONE
) -> ExperimentSetup:
    """Assemble an experiment, its images and this machine's settings.

    The statistics are of all training images, even if ``dataset.first_images`` trains on some:
    lnsmith54/super-convergence, Results/clr3SS5kTr10kTab1, has one mean image for all its sets.
    """
    statistics = statistics_of(data.train, experiment.dataset)
    data = data.first(experiment.dataset.first_images).to(settings.device)
    setup = ExperimentSetup(experiment, data, settings, statistics, parts)
    if experiment.fine_tuning.weights is None:
        return setup
    return _with_weights(setup, experiment.fine_tuning.weights)


def _with_weights(setup: ExperimentSetup, weights: str) -> ExperimentSetup:
    """Return a setup whose networks start from pretrained weights, and say which they take.

    Raises:
        ValueError: they cannot be read, or are of another network.
    """
    config = setup.experiment.model
    state = read_weights(
        weights,
        library=config.library,
        architecture=config.architecture,
        image_size=setup.data.image_shape[1],
        arguments=config.arguments,
    )
    say(load_weights(setup.build(), state, where=weights))
    return dataclasses.replace(setup, weights=state)


def build_training(
    plan: Plan,
    setup: ExperimentSetup,
    *,
    seed: int,
    indices: torch.Tensor | None = None,
    held_out: torch.Tensor | None = None,
) -> Training:
    """Build the loop of one run, at its first update.

    Args:
        plan: of the run.
        setup: data and settings.
        seed: of every random stream.
        indices: training images to use; None: all.
        held_out: training images to evaluate on; None: evaluate on the test images.
    """
    learner = setup.learner(seed, indices=indices, total_steps=plan.total_steps)
    scheduled = ScheduledLR(learner.optimizer, plan.schedule, momentum=plan.momentum)
    if setup.settings.capture == "graph":
        learner = capture_updates(learner, scheduled, total_steps=plan.total_steps)
    config = plan.experiment.training
    return Training(
        learner=learner,
        scheduled=scheduled,
        total_steps=plan.total_steps,
        log_at=evenly_spread(config.log_lines, plan.total_steps),
        evaluate_at=evenly_spread(config.evaluations, plan.total_steps),
        evaluate=setup.evaluate(
            learner.model,
            setup.data.test if held_out is None else setup.data.train,
            indices=held_out,
        ),
        split="test" if held_out is None else "held_out",
    )


def capture_updates(learner: Learner, scheduled: ScheduledLR, *, total_steps: int) -> Learner:
    """Return a learner that captures its updates as a CUDA graph, where they can be captured."""
    drawn = learner.batches if isinstance(learner.batches, GatheredBatches) else None
    return captured(learner, scheduled, total_steps=total_steps, drawn=drawn, say=say)


def build_optimizer(
    config: OptimizerConfig, model: nn.Module, *, fused: bool, layer_decay: float = 1.0
) -> torch.optim.Optimizer:
    """Build the optimizer with a default rate of 1, so that a group's rate is its multiplier.

    Raises:
        ValueError: a value is out of range; names the file.
    """
    arguments = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in config.arguments.items()
    }
    entry = OPTIMIZERS[config.name]
    if fused and entry.fused:
        arguments["fused"] = True
    groups = parameter_groups(model, weight_decay=config.weight_decay, layer_decay=layer_decay)
    try:
        return entry.constructor()(groups, lr=1.0, **arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"conf/optimizer/{config.name}.yaml: {error}") from None


def load_setup(
    experiment: ExperimentConfig, paths: Paths | None = None, *, parts: Parts = ALONE
) -> ExperimentSetup:
    """Load an experiment's images and choose this machine's settings."""
    data = load_dataset(experiment.dataset, paths or Paths.from_environment())
    settings = decide(experiment.hardware, architecture=experiment.model.architecture)
    return assemble_setup(experiment, data, settings, parts=parts)


def plan_experiment(
    loaded: Loaded, bounds: Bounds | None, *, parts: Parts = ALONE
) -> tuple[Plan, ExperimentSetup]:
    """Load the images of one experiment of a campaign, and plan it.

    Raises:
        ValueError: the images differ from those that ``download`` identified.
    """
    setup = load_setup(loaded.experiment, parts=parts)
    identity = setup.data.identity
    file = identity_file(loaded.experiment.dataset.name)
    if file.is_file() and identity_of(loaded.experiment.dataset, read_json(file)) != identity:
        raise ValueError(
            f"{file} describes other images than those found now: run the download stage again"
        )
    plan = plan_run(loaded.experiment, identity, bounds=bounds, where=str(loaded.path))
    return plan, setup
