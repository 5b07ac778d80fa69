"""Image compression with autoencoders, compared honestly with JPEG.

The modules stand in layers; each imports only from layers above it:

====  =======================================================
0     :mod:`~aelib.images`
1     :mod:`~aelib.data`, :mod:`~aelib.models`, :mod:`~aelib.metrics`
2     :mod:`~aelib.train`, :mod:`~aelib.codecs`, :mod:`~aelib.latent`
3     :mod:`~aelib.zoo`
4     :mod:`~aelib.pretrain`, :mod:`~aelib.plots`
5     :mod:`~aelib.widgets`
====  =======================================================

Shapes are written with N images, C channels, H rows, W columns and K latent numbers.
"""

__version__ = "0.1.0"
