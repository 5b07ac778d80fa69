"""What the entropy coder wastes and how fast it is, and what quantisation costs: ``python benchmarks/entropy.py``.

Every shipped model on its full test set at the default quality; speed is the best of three runs. Where the package
constriction is installed, its range coder codes the same symbols with the same tables in the same run, as a peer: in
one stream an image, as an image must be decoded alone, and in one stream for all, latent after latent.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import record

from aelib import data, entropy, metrics, models, zoo

RESULTS = Path(__file__).parent.parent / "results" / "entropy.json"
PEER_IMAGES = 1000  # whose symbols the other library codes
HEADER = f"{'model':16} {'bytes':>7} {'over Shannon':>12} {'PSNR loss':>10} {'encode':>11} {'decode':>11}"


def seconds(work: Callable[[], Any]) -> float:
    """Return the shortest of three runs."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def shortest(words: Any, decodes: Callable[[Any], bool]) -> int:
    """Return how many bytes of a range coder's words are needed, where the decoder fills up with zeros."""
    whole = words.astype(">u4").tobytes()
    for length in range(len(whole) - 8, len(whole)):
        for last in (0, 1):  # cut off, or cut off and rounded up
            number = int.from_bytes(whole[: max(length, 0)]) + last
            try:
                kept = number.to_bytes(max(length, 0)).ljust(len(whole), b"\0")
            except OverflowError:
                continue
            if decodes(np.frombuffer(kept, ">u4").astype(np.uint32)):
                return length
    return len(whole)


def constriction_row(symbols: entropy.Int64, tables: entropy.Tables) -> dict[str, Any]:
    """Return bytes over Shannon and speed of constriction's range coder, one stream and one call an image.

    ``joined_*`` are the speeds of one stream for all images, with tables that are ready, a call a latent.
    """
    import constriction

    family = constriction.stream.model.Categorical(perfect=False)
    columns = np.split(tables.frequencies, np.cumsum(tables.counts)[:-1])
    padded = [np.pad(column, (0, tables.counts.max() - len(column))) for column in columns]
    probabilities = (np.stack(padded) / entropy.TOTAL).astype(np.float32)
    outside = tables.intervals(symbols, np.arange(len(tables)))[2]
    indices = np.where(outside, tables.counts - 1, symbols - tables.lows).astype(np.int32)
    escaped = 4 * outside.sum(axis=1)  # what our own coder writes for such a symbol: 32 bits
    words: list[Any] = []

    def encode() -> None:
        words.clear()
        for row in indices:
            encoder = constriction.stream.queue.RangeEncoder()
            encoder.encode(row, family, probabilities)
            words.append(encoder.get_compressed())

    def decoded(compressed: Any) -> Any:
        return constriction.stream.queue.RangeDecoder(compressed).decode(family, probabilities)

    def decodes(compressed: Any, row: Any) -> bool:
        try:
            return np.array_equal(decoded(compressed), row)
        except AssertionError:  # constriction refuses words that no encoder writes
            return False

    def decode() -> None:
        for compressed in words:
            decoded(compressed)

    ready = [
        constriction.stream.model.Categorical(np.array(column / entropy.TOTAL, np.float32), perfect=False)
        for column in columns
    ]
    by_latent = [np.ascontiguousarray(column) for column in indices.T]

    def joined() -> Any:
        encoder = constriction.stream.queue.RangeEncoder()
        for column, model in zip(by_latent, ready, strict=True):
            encoder.encode(column, model)
        return encoder.get_compressed()

    def parted(compressed: Any) -> list[Any]:
        decoder = constriction.stream.queue.RangeDecoder(compressed)
        return [decoder.decode(model, len(indices)) for model in ready]

    together = joined()
    if not all(map(np.array_equal, parted(together), by_latent)):
        raise AssertionError("constriction decoded other symbols from one stream")
    encode()
    if not all(map(decodes, words, indices)):
        raise AssertionError("constriction decoded other symbols")
    speeds = {f"{way.__name__}_symbols_per_second": symbols.size / seconds(way) for way in (encode, decode)}
    speeds["joined_encode_symbols_per_second"] = symbols.size / seconds(joined)
    speeds["joined_decode_symbols_per_second"] = symbols.size / seconds(lambda: parted(together))
    whole = np.array([4 * len(compressed) for compressed in words]) + escaped
    trimmed = escaped + [
        shortest(compressed, lambda cut, row=row: decodes(cut, row))
        for row, compressed in zip(indices, words, strict=True)
    ]
    shannon = entropy.information(symbols, tables) / 8
    return {
        "version": version("constriction"),
        "bytes_over_shannon": float((whole - shannon).mean()),
        "trimmed_bytes_over_shannon": float((trimmed - shannon).mean()),
        **speeds,
    }


def coded(name: str, count: int) -> tuple[entropy.Int64, entropy.Tables]:
    """Return the symbols of some test images under a shipped model, and their tables."""
    codec = zoo.load_codec(name)
    images = data.load(name.split("-")[0], "test").images[:count]
    symbols = codec.quantiser.symbols(models.codes(codec.model, images), codec.quality)
    return symbols, codec.quantiser.at(codec.quality)


def speeds(symbols: entropy.Int64, tables: entropy.Tables) -> dict[str, float]:
    """Return how many symbols a second our own coder encodes and decodes."""
    streams = entropy.encode(symbols, tables)
    return {
        "encode_symbols_per_second": symbols.size / seconds(lambda: entropy.encode(symbols, tables)),
        "decode_symbols_per_second": symbols.size / seconds(lambda: entropy.decode(streams, tables)),
    }


def measure(name: str) -> dict[str, Any]:
    """Return the figures of one model."""
    codec = zoo.load_codec(name)
    test = data.load(name.split("-")[0], "test")
    if test.source == "sample":
        raise ConnectionError("expected the full test sets, got the bundled sample")
    images = test.images
    latents = models.codes(codec.model, images)
    symbols = codec.quantiser.symbols(latents, codec.quality)
    tables = codec.quantiser.at(codec.quality)
    streams = entropy.encode(symbols, tables)
    if not np.array_equal(entropy.decode(streams, tables), symbols):
        raise AssertionError(f"{name}: the decoded symbols differ")
    shannon = entropy.information(symbols, tables) / 8
    lengths = np.array([len(stream) for stream in streams])
    restored = models.pictures(codec.model, codec.quantiser.latents(symbols, codec.quality))
    floats = metrics.psnr(images, models.pictures(codec.model, latents)).mean()
    return {
        "model": name,
        "images": len(images),
        "bytes": float(lengths.mean()),
        "bytes_over_shannon": float((lengths - shannon).mean()),
        "psnr_loss_db": float(floats - metrics.psnr(images, restored).mean()),
        **speeds(symbols, tables),
    }


def main() -> None:
    """Print the table and write it as JSON."""
    rows = []
    print(HEADER)
    for name in zoo.names():
        row = measure(name)
        rows.append(row)
        shown = [f"{row[f'{way}_symbols_per_second'] / 1e6:7.2f} M/s" for way in ("encode", "decode")]
        figures = f"{row['bytes']:7.2f} {row['bytes_over_shannon']:10.3f} B {row['psnr_loss_db']:7.3f} dB"
        print(f"{name:16} {figures} {shown[0]} {shown[1]}", flush=True)
    content: dict[str, Any] = {
        "data_sha256": {name: data.SHA256[name]["x_test"] for name in data.CLASSES},
        "rows": rows,
    }
    if importlib.util.find_spec("constriction"):
        content["constriction"] = constriction_row(*coded("cifar10-conv-64", PEER_IMAGES))
        print(f"constriction, cifar10-conv-64: {content['constriction']}")
    record.write(RESULTS, ("aelib", "numpy", "torch"), content)


if __name__ == "__main__":
    main()
