"""Softmax outputs of a network: in order, in eval mode, and the same as what is measured."""

import pytest
import torch
from torch import nn

from anneal.training.evaluation import measure, predict


def make_batches(sizes=(5, 5, 2)):
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(size, 1, 4, 4, generator=generator),
            torch.randint(0, 3, (size,), generator=generator),
        )
        for size in sizes
    ]


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 3))


def test_outputs_are_probabilities_in_the_order_of_the_images() -> None:
    model, batches = make_model(), make_batches()
    outputs = predict(model, batches)
    assert (outputs.shape, outputs.dtype) == ((12, 3), torch.float32)
    torch.testing.assert_close(outputs.sum(1), torch.ones(12))
    alone = [predict(model, [(images[i : i + 1], labels)]) for images, labels in batches
             for i in range(len(images))]  # fmt: skip
    torch.testing.assert_close(outputs, torch.cat(alone))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_most_probable_classes_are_those_that_are_measured(precision) -> None:
    model, batches = make_model(), make_batches((50, 13))
    labels = torch.cat([labels for _, labels in batches])
    outputs = predict(model, batches, precision=precision)
    right = 100 * (outputs.argmax(1) == labels).double().mean().item()
    assert measure(model, batches, precision=precision).accuracy_pct == pytest.approx(right)


def test_dropout_is_off_and_the_mode_and_statistics_are_put_back() -> None:
    model, batches = make_model(), make_batches()
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.testing.assert_close(predict(model, batches), predict(model, batches))
    assert model.training
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_without_an_image_there_is_nothing_to_predict() -> None:
    with pytest.raises(ValueError, match="at least one image to predict for"):
        predict(make_model(), [])
