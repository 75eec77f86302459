"""What a bank measures in a pass of one member through its model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from torch import Tensor

from vae_core.likelihoods import absolute_error, gaussian_kl, squared_error
from vae_core.models import Reconstruction

OPTIONAL: Mapping[str, Callable[[Tensor, Reconstruction, Tensor], Tensor]] = {
    "absolute_error": lambda x, out, noise: absolute_error(x, out.xhat),
    "nll": lambda x, out, noise: out.nll(x),
    "log_sigma2": lambda x, out, noise: cast(Tensor, out.log_sigma2).flatten(1).mean(dim=1),
    "x": lambda x, out, noise: x.flatten(1),
    "xhat": lambda x, out, noise: out.xhat.flatten(1),
    "mu": lambda x, out, noise: out.mu,
    "logvar": lambda x, out, noise: out.logvar,
    "noise": lambda x, out, noise: noise,
}
"""Terms [B, ...], of images, model output and noise, only for balancers that declare them."""


def terms_of(
    x: Tensor, out: Reconstruction, noise: Tensor, wanted: Sequence[str]
) -> tuple[Tensor, ...]:
    """S [B] and R [B, Z] of images x [B, C, H, W], then the ``wanted`` of :data:`OPTIONAL`."""
    kl = gaussian_kl(out.mu, out.logvar)
    return squared_error(x, out.xhat), kl, *(OPTIONAL[name](x, out, noise) for name in wanted)
