"""The sigmoid whose values do not depend on their place in memory."""

from __future__ import annotations

import pytest
import torch

from vae_core.models.layers import VECTOR, Sigmoid


@pytest.mark.parametrize("count", [VECTOR, VECTOR + 1], ids=["torch's", "our own"])
def test_logits_far_from_0_have_a_value_and_a_gradient(count: int) -> None:
    x = torch.zeros(count)
    x[:4] = torch.tensor([-200.0, -89.0, 89.0, 200.0])
    x.requires_grad_()
    found = Sigmoid()(x)
    torch.testing.assert_close(found, torch.sigmoid(x), atol=1e-30, rtol=1e-6)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(gradient[:4], torch.zeros(4))
    assert gradient[4:].unique().tolist() == [0.25]
