"""Picture formats that Pillow writes: JPEG, WebP, AVIF, PNG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from aelib import avif, containers, files, guards
from aelib.codecs.base import PictureCodec, check_channels, check_range


@dataclass(frozen=True)
class Jpeg(PictureCodec):
    """Baseline JPEG (ITU-T T.81) by Pillow, grey or RGB.

    Attributes
    ----------
    quality : int
        1 (smallest) to 95 (best), as libjpeg scales its quantisation tables.
    subsampling : {"4:4:4", "4:2:0"}
        Whether colour keeps its full resolution or half of it in both directions; no effect on grey.
    optimize : bool
        Huffman tables fitted to the image, which then carries them, instead of the standard ones.
    flat : bool
        Quantise all frequencies alike, which suits the mean squared error, instead of by the standard tables.

    Examples
    --------
    >>> import torch
    >>> grey = torch.full((2, 1, 28, 28), 128, dtype=torch.uint8)
    >>> codec = Jpeg(50)
    >>> streams = codec.encode(grey)
    >>> bool((codec.decode(streams) == grey).all())
    True
    """

    quality: int
    subsampling: str = "4:4:4"
    optimize: bool = True
    flat: bool = False

    def __post_init__(self) -> None:
        check_range("JPEG quality", self.quality, 1, 95)
        if self.subsampling not in ("4:4:4", "4:2:0"):
            raise ValueError(f"expected subsampling 4:4:4 or 4:2:0, got {self.subsampling!r}")

    @property
    def name(self) -> str:
        """The codec and its settings."""
        tables = ("" if self.optimize else ", standard Huffman") + (", flat" if self.flat else "")
        return f"JPEG {self.subsampling}{tables} q{self.quality}"

    def _write(self, image: Tensor) -> bytes:
        options: dict[str, Any] = {"quality": self.quality, "optimize": self.optimize}
        if len(image) == 3:
            options["subsampling"] = self.subsampling
        if self.flat:
            # libjpeg's law from quality to scale, on a flat table of 16, the finest step of the standard one.
            scale = 5000 / self.quality if self.quality < 50 else 200 - 2 * self.quality
            options["qtables"] = [[min(255, max(1, int((16 * scale + 50) // 100)))] * 64]
            del options["quality"]
        return files.write_picture(image, "JPEG", **options)

    def _read(self, stream: bytes, max_pixels: int) -> Tensor:
        guards.check_jpeg(stream)
        return files.read_picture(stream, "JPEG", max_pixels=max_pixels)

    def payload(self, stream: bytes) -> bytes:
        """Return the entropy-coded segments, and the Huffman tables where they are fitted to the image."""
        return containers.jpeg_payload(stream, huffman_tables=self.optimize)


@dataclass(frozen=True)
class WebP(PictureCodec):
    """WebP by Pillow.

    Attributes
    ----------
    quality : int or None
        0 (smallest) to 100 (best), lossy with 4:2:0 at the slowest method; None for lossless.
    channels : {3, 1}
        The format knows no grey: grey images are coded as RGB, and the codec is told what to give back.
    """

    quality: int | None
    channels: int = 3

    def __post_init__(self) -> None:
        if self.quality is not None:
            check_range("WebP quality", self.quality, 0, 100)

    @property
    def name(self) -> str:
        """The codec and its settings."""
        return "WebP lossless" if self.quality is None else f"WebP q{self.quality}"

    def _write(self, image: Tensor) -> bytes:
        check_channels(image, self.channels)
        if self.quality is None:
            # More effort is not less bytes on small photographs: a test shows it.
            return files.write_picture(image, "WEBP", lossless=True, quality=75, method=4)
        return files.write_picture(image, "WEBP", quality=self.quality, method=6)

    def _read(self, stream: bytes, max_pixels: int) -> Tensor:
        return files.read_picture(stream, "WEBP", channels=self.channels, max_pixels=max_pixels)

    def payload(self, stream: bytes) -> bytes:
        """Return the VP8 or VP8L chunk, less signature and size."""
        return containers.webp_payload(stream)


@dataclass(frozen=True)
class Avif(PictureCodec):
    """AVIF, 4:4:4, by Pillow.

    The encoder (libaom) is tuned for PSNR, as everything here is measured in it: libavif's default from 1.4 on, tuned
    for the eye, needs some 7 % more bytes for the same PSNR on CIFAR-10 (`benchmarks/avif.py`).

    Attributes
    ----------
    quality : int
        0 (smallest) to 100 (best).
    speed : int
        0 (slowest, best) to 10.
    channels : {3, 1}
        What the images have; Pillow reads AVIF as RGB always, so the codec is told what to give back.
    tune : {"psnr", "ssim", "iq"}
        What the encoder serves; "iq", image quality to the eye, needs libaom 3.12.
    """

    quality: int
    speed: int = 6
    channels: int = 3
    tune: str = "psnr"

    def __post_init__(self) -> None:
        check_range("AVIF quality", self.quality, 0, 100)
        check_range("AVIF speed", self.speed, 0, 10)
        if self.tune not in ("psnr", "ssim", "iq"):
            raise ValueError(f"expected tune psnr, ssim or iq, got {self.tune!r}")
        files.require_format("avif")

    @property
    def name(self) -> str:
        """The codec and its settings."""
        return f"AVIF speed {self.speed}{'' if self.tune == 'psnr' else f' for {self.tune}'} q{self.quality}"

    def _write(self, image: Tensor) -> bytes:
        check_channels(image, self.channels)
        options: dict[str, Any] = {"subsampling": "4:4:4" if self.channels == 3 else "4:0:0"}
        options |= {"speed": self.speed, "max_threads": 1, "advanced": {"tune": self.tune}}
        return files.write_picture(image, "AVIF", quality=self.quality, **options)

    def _read(self, stream: bytes, max_pixels: int) -> Tensor:
        avif.check_stream(stream, max_pixels)
        return files.read_picture(stream, "AVIF", channels=self.channels, max_pixels=max_pixels)

    def payload(self, stream: bytes) -> bytes:
        """Return the contents of the mdat box, less the sequence header."""
        return containers.avif_payload(stream)


@dataclass(frozen=True)
class Png(PictureCodec):
    """PNG by Pillow, lossless."""

    @property
    def name(self) -> str:
        """The codec and its settings."""
        return "PNG"

    def _write(self, image: Tensor) -> bytes:
        return files.write_picture(image, "PNG", optimize=True)

    def _read(self, stream: bytes, max_pixels: int) -> Tensor:
        return files.read_picture(guards.png_pixels(stream), "PNG", max_pixels=max_pixels)

    def payload(self, stream: bytes) -> bytes:
        """Return the contents of the IDAT chunks."""
        return containers.png_payload(stream)
