"""The residual network: the released one layer by layer, its parameter counts, its start."""

import math

import pytest
import torch
from torch.nn import functional as F

from vae_core.errors import ContractError
from vae_core.geometry import ImageShape
from vae_core.models import MODELS, build, check_model, initialise
from vae_core.models.layers import Double, GlorotConv, GlorotLinear, Halve

SMALL = {"name": "residual", "latent": 3, "width": 4, "dense": 8}


def started(shape, **settings):
    model = build({**SMALL, **settings}, shape)
    initialise(model, 0)
    return model


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize(
    ("side", "encoder", "decoder", "in_millions"),
    [
        (32, 1_135_840, 4_054_627, ("1.14", "4.05", "5.19")),
        (64, 3_333_344, 15_988_323, ("3.33", "15.99", "19.3")),
    ],
)
def test_it_has_the_published_number_of_parameters(side, encoder, decoder, in_millions):
    with torch.device("meta"):
        model = MODELS.get("residual")(ImageShape(3, side, side), 64)
    found = count(model.encoder, model.mu, model.logsd), count(model.decoder, model.mean)
    assert found == (encoder, decoder)
    assert sum(found) == count(model)
    for text, value in zip(in_millions, (*found, sum(found)), strict=True):
        assert f"{value / 1e6:.{len(text.split('.')[1])}f}" == text


def norm_relu(x, norm, training):
    """Batch normalisation by its formula, with the batch's or the running statistics."""
    mean, variance = norm.running_mean, norm.running_var
    if training:
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    shape = (1, -1, 1, 1)
    scale = norm.weight / torch.sqrt(variance + 1e-5)
    return F.relu((x - mean.view(shape)) * scale.view(shape) + norm.bias.view(shape))


def res_block(x, block, training):
    first, _, one, second, _, two = block.layers
    y = F.conv2d(norm_relu(x, first, training), one.weight, one.bias, padding=1)
    y = F.conv2d(norm_relu(y, second, training), two.weight, two.bias, padding=1)
    return y + F.conv2d(x, block.shortcut.weight, block.shortcut.bias, padding=1)


def released(model, x, z, training):
    """Encoder and decoder as in the released code, from the parameters of ``model``."""
    layers = iter(model.encoder)
    conv = next(layers)
    y = F.conv2d(x, conv.weight, conv.bias, padding=1)
    scales = int(math.log2(x.shape[-1])) - 2
    for scale in range(scales):
        y = res_block(y, next(layers), training)
        if scale != scales - 1:
            down = next(layers)
            y = F.conv2d(y, down.weight, down.bias, stride=2, padding=1)
    assert y.shape[2:] == (8, 8)
    y = y.mean((2, 3))
    *_, block = layers
    inner = block.layers[1](F.relu(y))
    y = block.layers[3](F.relu(inner)) + block.shortcut(y)
    posterior = model.mu(y), 2 * model.logsd(y)

    layers = iter(model.decoder)
    y = next(layers)(z)
    y = y.view(len(z), -1, 2, 2)
    next(layers)
    for up, block in zip(layers, layers, strict=True):
        y = F.conv_transpose2d(y, up.weight, up.bias, stride=2, padding=1, output_padding=1)
        y = res_block(y, block, training)
    conv = model.mean[0]
    return *posterior, torch.sigmoid(F.conv2d(y, conv.weight, conv.bias, padding=1))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("side", [8, 32, 64])
def test_it_is_wired_as_the_released_code(side, training):
    model = started(ImageShape(3, side, side)).train(training)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(5, 3, side, side, generator=generator)
    z = torch.randn(5, 3, generator=generator)
    with torch.no_grad():
        for name, buffer in model.named_buffers():  # other than 0 and 1
            if name.endswith(("mean", "var")):
                buffer.add_(torch.rand(buffer.shape, generator=generator))
        expected = released(model, x, z, training)
        found = *model.encode(x), model.decode(z)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def same(x, weight, stride):
    """TensorFlow's convolution with padding SAME: the odd pixel goes below and to the right."""
    side, kernel = x.shape[-1], weight.shape[-1]
    total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
    before, after = total // 2, total - total // 2
    return F.conv2d(F.pad(x, (before, after, before, after)), weight, stride=stride)


@pytest.mark.parametrize(
    ("make", "side", "stride"),
    [
        (lambda: Halve(2, 3, 3), 8, 2),
        (lambda: Halve(2, 3, 4), 8, 2),
        (lambda: Halve(2, 3, 4, odd=True), 7, 2),
        (lambda: Halve(2, 3, 5), 8, 2),
        (lambda: Halve(2, 3, 5, odd=True), 7, 2),
        (lambda: GlorotConv(2, 3, 3), 8, 1),
        (lambda: GlorotConv(2, 3, 5), 8, 1),
    ],
)
def test_convolutions_are_tensorflows_in_a_mirror(make, side, stride):
    layer, x = make(), torch.rand(2, 2, side, side)
    expected = same(x.flip(2, 3), layer.weight.flip(2, 3), stride).flip(2, 3)
    torch.testing.assert_close(layer(x) - layer.bias.view(-1, 1, 1), expected)


@pytest.mark.parametrize("kernel", [3, 4, 5])
def test_a_doubling_to_one_channel_is_a_transposed_convolution(kernel):
    layer, x = Double(5, 1, kernel), torch.rand(2, 5, 4, 6, requires_grad=True)
    torch.nn.init.normal_(layer.bias)
    leaves = (x, layer.weight, layer.bias)
    found, expected = layer(x), torch.nn.ConvTranspose2d.forward(layer, x)
    torch.testing.assert_close(found, expected)
    weights = torch.rand(expected.shape)
    gradients = [torch.autograd.grad((y * weights).sum(), leaves) for y in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("kernel", [3, 4, 5])
def test_transposed_convolutions_are_tensorflows_in_a_mirror(kernel):
    """TensorFlow's is the gradient of its convolution with regard to the input."""
    layer, x = Double(2, 3, kernel), torch.rand(2, 2, 4, 4)
    image = torch.zeros(2, 3, 8, 8, requires_grad=True)
    down = same(image, layer.weight.flip(2, 3), 2)
    (expected,) = torch.autograd.grad(down, image, x.flip(2, 3))
    torch.testing.assert_close(layer(x) - layer.bias.view(-1, 1, 1), expected.flip(2, 3))


def test_a_convolution_of_even_kernel_is_tensorflows_transposed_one_in_a_mirror():
    layer, x = GlorotConv(2, 3, 4), torch.rand(2, 2, 7, 7)
    image = torch.zeros(2, 3, 7, 7, requires_grad=True)
    # A transposed convolution's kernel is the convolution's turned round; in the mirror, twice.
    forth = same(image, layer.weight.transpose(0, 1), 1)
    (expected,) = torch.autograd.grad(forth, image, x.flip(2, 3))
    torch.testing.assert_close(layer(x), expected.flip(2, 3))


def test_it_starts_as_released_with_sane_outputs_at_every_depth():
    """He's start would double the variance at every shortcut and drive the sigmoid to its ends."""
    model = build({"name": "residual", "latent": 64}, ImageShape(3, 64, 64))
    initialise(model, 0)
    for layer, fans in ((model.decoder[0], 64 + 4096), (model.decoder[3].shortcut, 2 * 9 * 512)):
        assert isinstance(layer, GlorotLinear | GlorotConv)
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fans), rel=0.02)
        assert not layer.bias.any()
    with torch.no_grad():
        xhat = model.train().decode(torch.randn(4, 64, generator=torch.Generator().manual_seed(0)))
    assert 0.1 < xhat.logit().std() < 3


@pytest.mark.parametrize("bn_decay", [0.999, 0.9, 0.0])
def test_running_statistics_keep_bn_decay_of_the_past(bn_decay):
    shape = ImageShape(1, 8, 8)
    model = started(shape, **({} if bn_decay == 0.999 else {"bn_decay": bn_decay})).train()
    x = torch.rand(6, 1, 8, 8)
    first = model.encoder[0](x)
    for _ in range(3):
        model.encode(x)
    norm, kept = model.encoder[1].layers[0], bn_decay**3
    assert norm.eps == 1e-5
    torch.testing.assert_close(norm.running_mean, (1 - kept) * first.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, kept + (1 - kept) * first.var((0, 2, 3)))


@pytest.mark.parametrize(
    ("shape", "latent"),
    [
        (ImageShape(1, 8, 8), 1),
        (ImageShape(3, 16, 16), 5),
        (ImageShape(3, 32, 32), 3),
        (ImageShape(1, 64, 64), 3),
    ],
)
def test_it_keeps_the_contract(shape, latent):
    check_model(MODELS.get("residual"), shape, latent, width=4, dense=8)


@pytest.mark.parametrize(
    ("settings", "shape", "what", "advice"),
    [
        ({}, ImageShape(1, 28, 28), "images of 1x28x28", "'conv' for 28"),
        ({}, ImageShape(1, 4, 4), "images of 1x4x4", "8, 16, 32, 64"),
        ({}, ImageShape(1, 32, 64), "images of 1x32x64", "squares"),
        ({"width": 0}, ImageShape(1, 32, 32), "width is 0", "at least 1"),
        ({"dense": 2.5}, ImageShape(1, 32, 32), "dense is 2.5", "integer"),
        ({"bn_decay": 1}, ImageShape(1, 32, 32), "bn_decay is 1", r"[0, 1)"),
        ({"bn_decay": True}, ImageShape(1, 32, 32), "bn_decay is True", r"[0, 1)"),
        ({"bn_decay": float("nan")}, ImageShape(1, 32, 32), "bn_decay is nan", r"[0, 1)"),
        ({"bn_decay": "a"}, ImageShape(1, 32, 32), "bn_decay is 'a'", r"[0, 1)"),
    ],
)
def test_what_it_does_not_take_is_said(settings, shape, what, advice):
    with pytest.raises(ContractError) as caught:
        build({**SMALL, **settings}, shape)
    assert what in str(caught.value)
    assert advice in str(caught.value)
