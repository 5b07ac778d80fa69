"""Image compression with autoencoders, compared honestly with JPEG.

The modules stand in layers; each imports only from layers above it, or from a neighbour that stands before it:

====  ===================================================================================
0     images, containers, guards, av1, avif, files, storage, range_coder, entropy, losses,
      distributed, capture, schedule, sweep, mapped, records, arguments
1     sources, data, bottleneck, residual, models, prior, exact, learned, search,
      checkpoints, metrics, curves, augment, cards
2     train, train_rate, latent, quantise, codecs
3     zoo, benchmark, ladders, recipes
4     pretrain, train_codec, plots, tables, __main__
5     views
6     markup, upload
7     widgets, playground, explorer
====  ===================================================================================

Shapes are written with N images, C channels, H rows, W columns and K latent numbers.
"""

__version__ = "0.1.0"
