"""How a model starts: as its layers do, bit for bit, and else as its own ``__init__`` set it."""

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn

from vae_core.errors import ContractError
from vae_core.geometry import ImageShape
from vae_core.models import VAE, Start, build, initialise, named_tensors
from vae_core.models.heads import soft_clip
from vae_core.models.layers import Linear

DIGITS = ImageShape(1, 8, 8)
PRETRAINED = nn.Linear(DIGITS.dims, 8)
"""What a user has trained before, elsewhere."""


class Own(VAE):
    """Torch's layers, as they come."""

    heads = frozenset({"pixel"})

    def __init__(self, shape, latent, head=None):
        super().__init__(shape, latent, head)
        self.inner = nn.Linear(shape.dims, 2 * latent)
        self.norm = nn.BatchNorm1d(shape.dims)
        if head:  # draws before the rest of the model
            self.spread = nn.Linear(latent, shape.dims)
        self.outer = nn.Linear(latent, shape.dims)

    def encode(self, x):
        mu, logvar = self.inner(self.norm(x.flatten(1))).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z):
        return self.outer(z).view(-1, *self.shape.chw)

    def decode_spread(self, z):
        return self.decode(z), soft_clip(self.spread(z)).view(-1, *self.shape.chw)


class Loaded(Own):
    """Pretrained weights, in place and in a new parameter, and running statistics."""

    def __init__(self, shape, latent, head=None):
        super().__init__(shape, latent, head)
        self.inner.load_state_dict(PRETRAINED.state_dict())
        self.outer.bias = nn.Parameter(torch.full((shape.dims,), 0.25))
        self.norm.running_mean.fill_(0.5)


class Drawn(Own):
    """Initialised as the author wants it, with a buffer computed from it."""

    def __init__(self, shape, latent, head=None):
        super().__init__(shape, latent, head)
        nn.init.normal_(self.inner.weight, std=3.0)
        nn.init.zeros_(self.inner.bias)
        self.register_buffer("size", self.inner.weight.detach().norm())


class SeedsItself(Own):
    def __init__(self, shape, latent, head=None):
        torch.manual_seed(0)
        super().__init__(shape, latent, head)


class Copies(Own):
    """Copies of a layer: as it is, changed before, of another time; and one that was replaced."""

    def __init__(self, shape, latent, head=None):
        super().__init__(shape, latent, head)
        layer = nn.Linear(latent, latent)
        self.fresh = nn.ModuleList(copy.deepcopy(layer) for _ in range(2))
        nn.init.orthogonal_(layer.weight)
        self.changed = copy.deepcopy(layer)
        self.old = copy.deepcopy(PRETRAINED)
        self.table = nn.Embedding.from_pretrained(torch.ones(3, 2), freeze=False)
        self.replaced = nn.Linear(latent, latent)
        self.replaced.weight = nn.Parameter(self.fresh[0].weight.detach().clone())


class Tied(Own):
    """Parameters and buffers that are computed from what layers drew."""

    def __init__(self, shape, latent, head=None):
        super().__init__(shape, latent, head)
        self.one, self.other = nn.Linear(latent, latent), nn.Linear(latent, latent)
        self.other.load_state_dict(self.one.state_dict())
        self.register_buffer("began", self.one.weight.detach().clone())


class Remembering(Own):
    """A copy of a weight in a buffer, and all parameters its layers'."""

    def __init__(self, shape, latent, head=None):
        super().__init__(shape, latent, head)
        self.layer = nn.Linear(latent, latent)
        self.register_buffer("began", self.layer.weight.detach().clone())


class Orthogonal(Own):
    """A parametrization that keeps what it draws in a buffer."""

    def __init__(self, shape, latent, head=None):
        super().__init__(shape, latent, head)
        self.layer = nn.utils.parametrizations.orthogonal(nn.Linear(latent, latent))


class OtherWithAHead(Own):
    """Constants and a buffer that are others where there is a head."""

    def __init__(self, shape, latent, head=None):
        super().__init__(shape, latent, head)
        self.layer = nn.Linear(latent, latent)
        nn.init.constant_(self.layer.bias, 2.0 if head is None else -1.0)
        self.register_buffer("sizes", torch.ones(1) if head is None else torch.arange(3.0))


class Attending(Own):
    """A layer of torch's that has no reset_parameters(), and a parameter of the model's own."""

    def __init__(self, shape, latent, head=None):
        super().__init__(shape, latent, head)
        self.attention = nn.MultiheadAttention(latent, 1)
        self.shift = nn.Parameter(torch.zeros(latent))


class RandomBuffer(Own):
    def __init__(self, shape, latent, head=None):
        super().__init__(shape, latent, head)
        self.register_buffer("projection", torch.randn(3, 3))


def start_of(kind, head=None, shape=DIGITS, latent=4, **settings):
    name = kind if isinstance(kind, str) else f"{__name__}:{kind.__name__}"
    return Start(partial(build, {"name": name, "latent": latent, **settings}, shape), head)


def values(start, seed):
    return {n: t.detach().clone() for n, t in named_tensors(start.model(seed)).items()}


def as_layers_do(kind, seed, head=None, shape=DIGITS, latent=4, **settings):
    """Every parameter drawn by its layer under a seed of its name, whatever __init__ did."""
    name = kind if isinstance(kind, str) else f"{__name__}:{kind.__name__}"
    model = build({"name": name, "latent": latent, **settings}, shape, head)
    initialise(model, seed)
    return named_tensors(model)


@pytest.mark.parametrize("head", [None, "pixel"])
@pytest.mark.parametrize(
    ("kind", "settings", "shape"),
    [
        ("mlp", {"width": 8}, DIGITS),
        ("conv", {"width": 4}, ImageShape(1, 28, 28)),
        ("residual", {"width": 4, "dense": 8}, DIGITS),
        ("wae", {"width": 2}, ImageShape(1, 28, 28)),
        (Own, {}, DIGITS),
        (SeedsItself, {}, DIGITS),
        (RandomBuffer, {}, DIGITS),
    ],
)
def test_models_without_a_start_of_their_own_start_as_their_layers_do(kind, settings, shape, head):
    start = start_of(kind, head, shape, **settings)
    assert (start.constant, start.drawn) == ([], [])
    for seed in (3, 4):
        found = values(start, seed)
        expected = as_layers_do(kind, seed, head, shape, **settings)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("head", [None, "pixel"])
def test_loaded_weights_are_kept_and_the_rest_starts_as_before(head):
    start = start_of(Loaded, head)
    assert start.constant == ["inner.weight", "inner.bias", "outer.bias"]
    assert start.drawn == []
    for seed in (1, 2):
        found, layers = values(start, seed), as_layers_do(Own, seed, head)
        assert torch.equal(found["inner.weight"], PRETRAINED.weight)
        assert torch.equal(found["inner.bias"], PRETRAINED.bias)
        assert bool((found["outer.bias"] == 0.25).all())
        # Its layer is reset for the weight and the bias of the normalisation.
        assert bool((found["norm.running_mean"] == 0.5).all())
        assert all(torch.equal(found[name], layers[name]) for name in start.layers)


def test_the_authors_own_draws_depend_on_the_seed_alone():
    start, other = start_of(Drawn), start_of(Drawn)
    assert (start.constant, start.drawn) == (["inner.bias"], ["inner.weight"])
    first, second = values(start, 1), values(start, 2)
    torch.manual_seed(77)
    again = values(other, 1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["inner.weight"], second["inner.weight"])
    for found in (first, second):
        weight = found["inner.weight"]
        assert weight.std().item() == pytest.approx(3.0, rel=5 / math.sqrt(2 * weight.numel()))
        assert not found["inner.bias"].any()
        assert torch.equal(found["size"], weight.norm())  # of one build with the weight


@pytest.mark.parametrize("kind", [Own, Loaded, Drawn])
def test_a_head_leaves_the_start_of_the_others(kind):
    plain, headed = values(start_of(kind), 5), values(start_of(kind, "pixel"), 5)
    assert headed.keys() - plain.keys() == {"spread.weight", "spread.bias"}
    assert all(torch.equal(plain[name], headed[name]) for name in plain)


def test_copies_of_layers():
    start = start_of(Copies)
    fresh = [f"fresh.{i}.{name}" for i in range(2) for name in ("weight", "bias")]
    assert set(fresh) <= set(start.layers)
    assert set(start.drawn) == {"changed.weight", "replaced.weight"}
    assert set(start.constant) == {"old.weight", "old.bias", "table.weight"}
    found = values(start, 1)
    # All from one build, as __init__ draws, too: copies are copies.
    assert torch.equal(found["fresh.0.weight"], found["fresh.1.weight"])
    assert torch.equal(found["replaced.weight"], found["fresh.0.weight"])
    turned = found["changed.weight"] @ found["changed.weight"].T
    torch.testing.assert_close(turned, torch.eye(4), atol=1e-5, rtol=0)
    assert torch.equal(found["old.weight"], PRETRAINED.weight)
    assert bool((found["table.weight"] == 1).all())


@pytest.mark.parametrize("seed", [1, 2])
def test_what_init_computes_from_a_layers_draw_belongs_to_that_draw(seed):
    found = values(start_of(Tied), seed)
    for name in ("other.weight", "began"):
        assert torch.equal(found[name], found["one.weight"])
    found = values(start_of(Remembering), seed)
    assert torch.equal(found["began"], found["layer.weight"])


@pytest.mark.parametrize("kind", [Tied, Remembering, Orthogonal])
def test_such_a_start_depends_on_the_seed_alone(kind):
    start, again = start_of(kind), start_of(kind)
    first, same, other = values(start, 1), values(again, 1), values(start, 2)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_what_is_constant_with_a_head_stays_so():
    found = values(start_of(OtherWithAHead, "pixel"), 1)
    assert found["layer.bias"].unique().tolist() == [-1.0]
    assert found["sizes"].tolist() == [0.0, 1.0, 2.0]
    plain = values(start_of(OtherWithAHead), 1)
    assert torch.equal(found["layer.weight"], plain["layer.weight"])


def test_a_parameter_that_no_layer_resets_starts_as_init_sets_it():
    start = start_of(Attending)
    assert "attention.in_proj_weight" in start.drawn
    assert {"shift", "attention.in_proj_bias", "attention.out_proj.bias"} <= set(start.constant)
    weights = [values(start, seed)["attention.in_proj_weight"] for seed in (1, 2)]
    assert not torch.equal(*weights)


def test_members_of_other_seeds_do_not_change_a_start():
    start = start_of(Drawn)
    first = values(start, 1)
    with torch.no_grad():
        for tensor in named_tensors(start.model(2)).values():
            tensor.fill_(9)
    again = values(start, 1)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_it_says_what_starts_how():
    assert str(start_of(Own)) == "parameters start: 6 as their layers do"
    assert str(start_of(Drawn)) == (
        "parameters start: 4 as their layers do; "
        "1 as __init__ sets them, equal for all seeds (inner.bias); "
        "1 as __init__ draws them, under the trial's seed (inner.weight)"
    )


def test_looking_leaves_torch_as_it_was():
    built = build({"name": "mlp", "latent": 1, "width": 2}, DIGITS)
    before = torch.get_rng_state()
    start_of(Drawn).model(1)

    def make(head, seed):
        if seed == 0:  # what is recorded
            raise ContractError("not again")
        return built

    with pytest.raises(ContractError, match="not again"):
        Start(make, None)
    assert torch.equal(before, torch.get_rng_state())
    layers = {built.encoder[1]: Linear, nn.Linear(1, 1): nn.Linear}
    for layer, kind in layers.items():
        assert layer.reset_parameters.__func__ is kind.__dict__["reset_parameters"]
        assert not hasattr(kind.reset_parameters, "__wrapped__")
