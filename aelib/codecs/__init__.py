"""Codecs: images in, one byte stream per image out, and back from the bytes alone."""

from aelib.codecs.autoencoder import Autoencoder
from aelib.codecs.base import Codec, PictureCodec, paid
from aelib.codecs.blocks import Blocks
from aelib.codecs.codestreams import Jpeg2000, JpegXl
from aelib.codecs.fixed_length import FixedLength
from aelib.codecs.header import MAX_SIDE
from aelib.codecs.learned import EFFORTS, SAFE_PIXELS, Learned
from aelib.codecs.pillow import Avif, Jpeg, Png, WebP

__all__ = [
    "EFFORTS",
    "MAX_SIDE",
    "SAFE_PIXELS",
    "Autoencoder",
    "Avif",
    "Blocks",
    "Codec",
    "FixedLength",
    "Jpeg",
    "Jpeg2000",
    "JpegXl",
    "Learned",
    "PictureCodec",
    "Png",
    "WebP",
    "paid",
]
