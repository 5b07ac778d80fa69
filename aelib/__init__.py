"""Image compression with autoencoders, compared honestly with JPEG.

The modules stand in layers; each imports only from layers above it, and from a neighbour where that is named:

====  ===================================================================================
0     images, files (imports images), entropy, containers, guards (imports containers), losses, cards
1     sources, data (imports sources), bottleneck, residual (imports bottleneck),
      models (imports both), prior, exact (imports prior), learned (imports prior and residual), checkpoints,
      metrics, curves
2     train, train_rate (imports train), latent, quantise, codecs (imports quantise)
3     zoo, benchmark, ladders
4     pretrain, train_codec, plots, tables
5     views
6     markup, upload
7     widgets, playground, explorer
====  ===================================================================================

Shapes are written with N images, C channels, H rows, W columns and K latent numbers.
"""

__version__ = "0.1.0"
