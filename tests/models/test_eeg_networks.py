"""Networks of signals: counts, shapes, receptive fields, dense against strided, braindecode's."""

import pytest
import torch

from anneal.models.build import build_model
from anneal.models.eeg.decoder import TrialDecoder, build_decoder
from anneal.models.eeg.layers import TimeSpaceConv
from anneal.models.registry import SIGNAL_NETWORKS

SIZES = {"num_classes": 4, "in_chans": 44}
COUNTS = [  # HBM 2017's networks at 44 sensors and 4 classes: parameters, outputs of 1,000 samples
    ("eeg_deep4", {}, 292_629, 479),
    ("eeg_shallow", {}, 76_324, 467),
    ("eeg_resnet", {}, 1_456_996, 424),
    ("eeg_resnet", {"blocks": 13}, 1_332_004, 424),
]
EVERY = {"eeg_deep4": 81, "eeg_shallow": 15, "eeg_resnet": 64}  # samples between strided outputs
FIELD = {"eeg_deep4": 522, "eeg_shallow": 534}  # samples that one output sees: 1,001 - outputs


def make(name: str, *, seed: int = 0, **arguments):
    """Return a network in eval mode whose statistics and biases are not those it begins with."""
    torch.manual_seed(seed)
    network = SIGNAL_NETWORKS[name](**SIZES | arguments)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.5, 2.0, generator=generator)
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.normal_(1.0, 0.3, generator=generator)
    return network.eval()


@pytest.mark.parametrize(("name", "arguments", "count", "outputs"), COUNTS)
def test_parameters_and_outputs_are_the_published_ones(name, arguments, count, outputs):
    network = SIGNAL_NETWORKS[name](**SIZES, **arguments, dense=True).eval()
    assert sum(p.numel() for p in network.parameters()) == count
    with torch.no_grad():
        assert network(torch.zeros(1, 44, 1000)).shape == (1, 4, outputs)


def test_strided_residual_network_has_seven_outputs():
    network = SIGNAL_NETWORKS["eeg_resnet"](**SIZES).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 44, 1000)).shape == (1, 4, 7)
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv1d)]
    assert len(convolutions) + 1 == 31  # the spatial one is a weight of its own


@pytest.mark.parametrize("name", sorted(SIGNAL_NETWORKS))
def test_dense_is_strided_at_every_stride_with_the_same_weights(name):
    strided, dense = make(name), make(name, dense=True)
    dense.load_state_dict(strided.state_dict())
    strided, dense = strided.double(), dense.double()
    signals = torch.randn(2, 44, 1000, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        expected, found = strided(signals), dense(signals)
    torch.testing.assert_close(found[..., :: EVERY[name]], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("name", "field"), FIELD.items())
def test_output_sees_its_receptive_field_and_nothing_else(name, field):
    network = make(name, dense=True).double()
    signals = torch.randn(1, 44, 1000, generator=torch.Generator().manual_seed(1)).double()
    signals.requires_grad_()
    network(signals)[0, :, 7].sum().backward()
    seen = signals.grad.abs().sum((0, 1)).nonzero()[:, 0]
    assert seen.min() >= 7
    assert seen.max() < 7 + field
    if name == "eeg_shallow":  # max pooling looks away from some
        assert len(seen) == field


def test_residual_network_sees_the_whole_crop_around_the_middle():
    network = make("eeg_resnet", dense=True).double()
    signals = torch.randn(1, 44, 1000, generator=torch.Generator().manual_seed(1)).double()
    signals.requires_grad_()
    network(signals)[0, :, 212].sum().backward()
    assert (signals.grad.abs().sum((0, 1)) > 0).all()


@pytest.mark.parametrize("same", [False, True])
def test_composed_convolution_is_the_two_after_each_other(same):
    torch.manual_seed(0)
    layer = TimeSpaceConv(
        sensors=5, time_filters=4, length=3, space_filters=6, same=same, space_bias=True
    ).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    signals = torch.randn(2, 5, 20).double()
    padded = torch.nn.functional.pad(signals, (layer.padding, layer.padding))
    each = torch.stack([layer.time(padded[:, c : c + 1]) for c in range(5)], dim=3)
    expected = torch.einsum("bftc,sfc->bst", each, layer.space) + layer.space_bias[:, None]
    torch.testing.assert_close(layer(signals), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(SIGNAL_NETWORKS))
def test_gradients_are_right_in_float64(name):
    sizes = {"eeg_deep4": 530, "eeg_shallow": 200, "eeg_resnet": 700}
    small = {"eeg_resnet": {"filters": 2}, "eeg_shallow": {"final_length": 3}, "eeg_deep4": {}}
    torch.manual_seed(0)
    network = SIGNAL_NETWORKS[name](num_classes=2, in_chans=3, **small[name]).double().eval()
    signals = torch.randn(1, 3, sizes[name]).double()
    weights = [p for p in network.parameters() if p.requires_grad]

    def loss() -> torch.Tensor:
        return network(signals).log_softmax(1)[:, 0].mean()

    gradients = torch.autograd.grad(loss(), weights)
    for weight, gradient in zip(weights, gradients, strict=True):
        direction = torch.randn(weight.shape).double()
        step = 1e-6
        with torch.no_grad():
            weight += step * direction
            above = loss()
            weight -= 2 * step * direction
            below = loss()
            weight += step * direction
        slope = (above - below) / (2 * step)
        expected = (gradient * direction).sum()
        torch.testing.assert_close(slope, expected, rtol=1e-5, atol=1e-7)  # measured: 1e-8


# --- braindecode ----------------------------------------------------------------------------------

LAYERS = {  # ours -> braindecode's, but for what the two call parameters inside
    "eeg_deep4": {"0.time": "conv_time_spat.conv_time",
                  "0.space": "conv_time_spat.conv_spat.weight",
                  "1": "bnorm", "5": "conv_2", "6": "bnorm_2", "10": "conv_3", "11": "bnorm_3",
                  "15": "conv_4", "16": "bnorm_4", "19": "final_layer.conv_classifier"},
    "eeg_shallow": {"0.time": "conv_time_spat.conv_time",
                    "0.space": "conv_time_spat.conv_spat.weight", "1": "bnorm",
                    "4": "final_layer.conv_classifier"},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_convnets_are_braindecodes_with_its_weights(name):
    models = pytest.importorskip("braindecode.models")
    kind, final = {"eeg_deep4": (models.Deep4Net, 2), "eeg_shallow": (models.ShallowFBCSPNet, 30)}[
        name
    ]
    torch.manual_seed(0)
    theirs = kind(n_chans=44, n_outputs=4, n_times=1000, final_conv_length=final)
    with torch.no_grad():
        for module in theirs.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
    theirs.eval()
    ours, state = SIGNAL_NETWORKS[name](**SIZES).eval(), theirs.state_dict()
    copied = {}
    for key, value in ours.state_dict().items():
        (layer,) = (layer for layer in LAYERS[name] if key == layer or key.startswith(f"{layer}."))
        source = LAYERS[name][layer] + key.removeprefix(layer)
        copied[key] = state[source].reshape(value.shape)
    ours.load_state_dict(copied)
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())
    signals = torch.randn(3, 44, 1000)
    with torch.no_grad():
        expected = theirs(signals)
        found = ours(signals)
        torch.testing.assert_close(found, expected.reshape(found.shape), rtol=1e-5, atol=1e-5)
        theirs.to_dense_prediction_model()
        dense = SIGNAL_NETWORKS[name](**SIZES, dense=True).eval()
        dense.load_state_dict(copied)
        torch.testing.assert_close(dense(signals), theirs(signals), rtol=1e-5, atol=1e-5)


# --- decoding trials ------------------------------------------------------------------------------


def decoder(name: str = "eeg_shallow", samples: int = 1125, crop: int | None = 1000, **more):
    torch.manual_seed(0)
    return build_decoder(
        architecture=name, arguments=more, num_classes=4, channels=44, samples=samples,
        crop_samples=crop,
    )  # fmt: skip


def test_training_gives_an_output_for_each_window_of_a_crop():
    found = decoder()
    assert (found.training, found.outputs) == (True, 467)
    assert found(torch.randn(2, 44, 1000)).shape == (2, 4, 467)
    assert decoder("eeg_resnet", samples=640, crop=None).outputs == 1


@pytest.mark.parametrize("name", ["eeg_shallow", "eeg_deep4"])
def test_evaluation_is_the_mean_over_all_windows_of_a_trial(name):
    """These pad nothing, so that crops give what the whole trial gives, each output once."""
    found = decoder(name, crop=1000).double().eval()
    signals = torch.randn(2, 44, 2300).double()
    with torch.no_grad():
        expected = found.network(signals).log_softmax(1).mean(2)
        torch.testing.assert_close(found(signals), expected, rtol=1e-6, atol=1e-6)


def test_evaluation_of_the_residual_network_counts_a_shared_output_once():
    found = decoder("eeg_resnet", crop=700, filters=4).double().eval()
    signals = torch.randn(1, 44, 1000).double()
    with torch.no_grad():
        outputs = [
            found.network(signals[..., s : s + 700]).log_softmax(1) for s in (0, 124, 248, 300)
        ]
        assert found.outputs == 124
        shared = torch.cat([*outputs[:3], outputs[3][..., 248 + 124 - 300 :]], dim=2)
        torch.testing.assert_close(found(signals), shared.mean(2), rtol=1e-6, atol=1e-6)


REFUSED = [
    ({"architecture": "resnet18"}, r"model\.architecture must be one of eeg_deep4, .*'resnet18'"),
    ({"arguments": {"dense": True}}, r"must not hold dense: it follows from dataset\.signal\.crop"),
    ({"crop_samples": 300}, r"cannot run eeg_deep4 on 300 samples of 44 sensors: .*longer window"),
    ({"arguments": {"dropout": 1.0}}, r"dropout must be in \[0, 1\), got 1"),
    ({"arguments": {"drop": 0.1}}, r"eeg_deep4 has no argument 'drop'; did you mean 'dropout'"),
    ({"architecture": "eeg_resnet", "arguments": {"blocks": 12}}, r"blocks must be one of 14, 13"),
    ({"architecture": "eeg_resnet", "arguments": {"filters": 7}}, r"filters must be even and pos"),
    ({"architecture": "eeg_resnet", "arguments": {"initialisation": "glorot"}}, r"initialisat"),
    ({"architecture": "eeg_resnet", "crop_samples": 500}, r"too few for a mean over 10 that are"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), REFUSED)
def test_what_no_decoder_can_be_built_of_is_refused(changes, said):
    asked = {
        "architecture": "eeg_deep4", "arguments": {}, "num_classes": 4, "channels": 44,
        "samples": 1125, "crop_samples": 1000,
    }  # fmt: skip
    with pytest.raises(ValueError, match=said):
        build_decoder(**asked | changes)


def test_network_of_signals_is_refused_for_images_and_known_to_timm():
    import timm

    import anneal.models.timm  # noqa: F401

    assert SIGNAL_NETWORKS.keys() <= set(timm.list_models())
    with pytest.raises(ValueError, match="eeg_resnet decodes signals, and these are images"):
        build_model(
            library="timm", architecture="eeg_resnet", arguments={}, num_classes=10, channels=3,
            image_size=32, small_images=False,
        )  # fmt: skip
    assert isinstance(decoder(), TrialDecoder)
