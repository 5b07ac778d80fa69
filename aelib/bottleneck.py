"""What every autoencoder here is: a pair of an encoder (N, C, H, W) -> (N, K) and a decoder (N, K) -> (N, C, H, W)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Autoencoder(nn.Module):
    """What every model here offers; a subclass builds `encoder` and `decoder`, the latter ending in raw values.

    Parameters
    ----------
    latent_dim : int
        K, the number of floats between encoder and decoder.
    channels : int
        C, 1 (grey) or 3 (RGB).
    size : int
        Height and width of the square images in pixels; a multiple of 4.

    Attributes
    ----------
    share : tuple of int and slice, optional
        What `encode` gets, where several processes train on one batch: of how many images, and which. So what is
        random is so for the whole batch, however it is shared out.
    """

    encoder: nn.Module
    decoder: nn.Module
    share: tuple[int, slice] | None = None

    def __init__(self, latent_dim: int, channels: int = 3, size: int = 32) -> None:
        if not isinstance(latent_dim, int) or latent_dim < 1:
            raise ValueError(f"expected a whole latent_dim >= 1, got {latent_dim!r}")
        if channels not in (1, 3):
            raise ValueError(f"expected channels 1 or 3, got {channels}")
        if not isinstance(size, int) or size < 4 or size % 4:
            raise ValueError(f"expected a size that is a positive multiple of 4, got {size!r}")
        super().__init__()
        self.latent_dim, self.channels, self.size = latent_dim, channels, size

    def encode(self, x: Tensor) -> Tensor:
        """Map float images in [0, 1], (N, C, H, W), to latents, (N, K)."""
        expected = (self.channels, self.size, self.size)
        self._check_dtype("images in [0, 1]", x, "; aelib.images.to_float converts")
        if tuple(x.shape[1:]) != expected or len(x) == 0:
            raise ValueError(f"expected images of shape (N, {', '.join(map(str, expected))}), got {tuple(x.shape)}")
        latents: Tensor = self.encoder(x)
        return latents

    def squash(self, raw: Tensor) -> Tensor:
        """Map the decoder's raw values to brightness; here by the sigmoid, so that they are logits."""
        return torch.sigmoid(raw)

    def decode_logits(self, z: Tensor) -> Tensor:
        """Map latents, (N, K), to the raw values that `squash` takes, (N, C, H, W)."""
        self._check_dtype("latents", z)
        if z.ndim != 2 or z.shape[1] != self.latent_dim or len(z) == 0:
            raise ValueError(f"expected latents of shape (N, {self.latent_dim}), got {tuple(z.shape)}")
        logits: Tensor = self.decoder(z)
        return logits

    def _check_dtype(self, what: str, got: Tensor, hint: str = "") -> None:
        expected = next(self.parameters()).dtype
        if not isinstance(got, Tensor) or got.dtype != expected:
            raise TypeError(f"expected {what} as a tensor of {expected}, got {getattr(got, 'dtype', type(got))}{hint}")

    def decode(self, z: Tensor) -> Tensor:
        """Map latents, (N, K), to float images in [0, 1], (N, C, H, W)."""
        return self.squash(self.decode_logits(z)).clamp(0, 1)

    def logits(self, x: Tensor) -> Tensor:
        """Encode and decode float images; the result, (N, C, H, W), is what `squash` takes."""
        return self.decode_logits(self.encode(x))

    def forward(self, x: Tensor) -> Tensor:
        """Encode and decode float images in [0, 1], (N, C, H, W) -> (N, C, H, W)."""
        return self.decode(self.encode(x))
