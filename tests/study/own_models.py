"""Models of a user's own, as the text of a module."""

MODELS = """
import torch
from torch import nn
from vae_core.models import VAE

class Plain(VAE):
    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.inner = nn.Linear(shape.dims, 2 * latent)
        self.outer = nn.Linear(latent, shape.dims)
    def encode(self, x):
        mu, logvar = self.inner(x.flatten(1)).chunk(2, dim=1)
        return mu, logvar
    def decode(self, z):
        return torch.sigmoid(self.outer(z)).view(-1, *self.shape.chw)

class Dropping(Plain):
    def decode(self, z):
        return super().decode(nn.functional.dropout(z, training=self.training))
"""
