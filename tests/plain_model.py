"""A model that keeps the contract; tests break it in one thing each."""

from torch import Tensor

from vae_core.geometry import ImageShape
from vae_core.models import VAE
from vae_core.models.layers import Linear

SMALL = ImageShape(1, 4, 4)


class Plain(VAE):
    """A linear VAE."""

    def __init__(self, shape: ImageShape, latent: int) -> None:
        super().__init__(shape, latent)
        self.down = Linear(shape.dims, 2 * latent)
        self.up = Linear(latent, shape.dims)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.down(x.flatten(1)).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        return self.up(z).view(-1, *self.shape.chw)
