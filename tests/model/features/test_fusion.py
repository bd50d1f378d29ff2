"""ConvFusion and its PCA form: the written equations, and frozen starts that can be repeated."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.features.fusion import ConvFusion, random_fusion
from model.features.pca import fit_pca, stream_vectors

GENERATOR = torch.Generator().manual_seed(0)


def test_convfusion_is_the_papers_equation() -> None:
    """Concatenate, 2×2 stride 2, ReLU, 1×1: recomputed in float64 by loops over windows."""
    fusion = ConvFusion(6, hidden=5, channels=4).requires_grad_(False)
    rgb, flow = torch.randn(2, 2, 6, 4, 4, generator=GENERATOR)
    result = fusion(rgb, flow).numpy()
    x = np.concatenate([rgb.numpy(), flow.numpy()], axis=1).astype(np.float64)
    w1, b1 = (fusion.reduce.weight.numpy(), fusion.reduce.bias.numpy())  # type: ignore[union-attr]
    w2, b2 = (fusion.project.weight.numpy(), fusion.project.bias.numpy())  # type: ignore[union-attr]
    for i in range(2):
        for j in range(2):
            window = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            hidden = np.maximum(np.einsum("bcuv,dcuv->bd", window, w1) + b1, 0)
            expected = hidden @ w2[:, :, 0, 0].T + b2
            # Float32 sums of 48 terms.
            np.testing.assert_allclose(result[:, :, i, j], expected, atol=1e-5)


def test_authors_sizes() -> None:
    """4096×14×14 → 256×7×7 is what stage two and the 25 KB a snippet rest on."""
    with torch.device("meta"):
        fusion = ConvFusion()
        maps = torch.zeros(3, 2048, 14, 14)
        assert fusion(maps, maps).shape == (3, 256, 7, 7)


def test_random_fusion_is_pytorchs_start_from_its_own_seed() -> None:
    """The frozen start must be repeatable and leave other random draws alone."""
    torch.manual_seed(5)
    expected = ConvFusion(8, 4, 2)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    result = random_fusion(8, 4, 2, seed=5)
    assert torch.equal(before, torch.random.get_rng_state())
    for name, value in expected.state_dict().items():
        assert torch.equal(result.state_dict()[name], value)


@pytest.mark.parametrize("snippets", [4, 40])
def test_pca_output_is_white_over_the_training_vectors(snippets: int) -> None:
    """Unit variance and no correlation, from fewer vectors than dimensions as from more."""
    rgb, flow = torch.randn(2, snippets, 12, 4, 4, generator=GENERATOR) ** 3 + 1
    vectors = stream_vectors(rgb, flow)
    assert (len(vectors) < 24) == (snippets == 4)
    fusion = fit_pca(vectors, 6)
    with torch.no_grad():
        out = fusion(rgb, flow).permute(0, 2, 3, 1).flatten(0, 2).double()
    # The fit is in float64, its application in float32.
    np.testing.assert_allclose(out.mean(dim=0), 0, atol=1e-4)
    np.testing.assert_allclose(out.T @ out / len(out), np.eye(6), atol=1e-3)


def test_pca_takes_the_leading_components() -> None:
    """Trailing components would keep the noise and drop the signal."""
    x = torch.randn(200, 24, generator=GENERATOR) * 0.01
    x[:, 5] += 10 * torch.randn(200, generator=GENERATOR)
    weight = fit_pca(x, 2).project.weight[0, :, 0, 0].detach()
    assert int(weight.abs().argmax()) == 5


def test_pca_of_too_few_vectors_is_refused() -> None:
    """Whitening directions without variance would divide by nothing."""
    with pytest.raises(ValueError, match="span 3 dimensions, fewer than the 8"):
        fit_pca(torch.randn(4, 24, generator=GENERATOR), 8)
