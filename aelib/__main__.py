"""Pictures to streams and back: ``python -m aelib compress in.png out.ael`` and ``decompress out.ael out.png``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from aelib import codecs, files, guards, learned, storage, zoo
from aelib.arguments import positive_int

FORMATS = {".png": "PNG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}  # that keep every pixel
_SOURCE = (
    "PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF of up to 4096x4096 pixels; of several pictures the first, transparent "
    "ones on white, 16 bits without a sign as 8"
)
_PIXELS_A_BYTE = 512  # that a stream may claim unasked beyond the few of `codecs.SAFE_PIXELS`; photographs have tens
_PATIENCE = 2.0  # seconds of silence before a bar is shown


class _Bar:
    """A bar for each stage of the work, shown where it takes long; see `aelib.codecs.Learned.progress`."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] = tqdm(disable=True)
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage:
            self.close()
            self._bar = tqdm(desc=stage, total=total, delay=_PATIENCE, unit="part", file=sys.stderr)
            self._stage = stage
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Leave the bar of the last stage as it is."""
        self._bar.close()


def compress(source: Path, target: Path, codec: codecs.Learned, *, new: bool = True) -> str:
    """Write the stream of a picture file, by default to no file that exists, and return what came of it in words."""
    picture = files.read_photograph(source.read_bytes())
    channels = codec.model.design.channels
    if len(picture) > channels:
        raise ValueError("expected a grey picture for this codec, got colours; use --codec cifar10")
    (stream,) = codec.encode(picture.expand(channels, -1, -1)[None])
    storage.write_whole(target, stream, new=new)
    height, width = picture.shape[1:]
    before, rate = source.stat().st_size, 8 * len(stream) / (height * width)
    return f"{width} x {height} pixels: {before:,} -> {len(stream):,} bytes, {rate:.3f} bpp"


def decompress(source: Path, target: Path, progress: _Bar, *, max_pixels: int | None = None, new: bool = True) -> str:
    """Write the picture of a stream in the format that the suffix names and return what came of it in words."""
    stream = source.read_bytes()
    limit = codecs.SAFE_PIXELS + _PIXELS_A_BYTE * len(stream) if max_pixels is None else max_pixels
    codec = replace(zoo.learned_for(stream), progress=progress)
    try:
        (picture,) = codec.decode([stream], max_pixels=limit)
    except guards.Refused as error:
        raise ValueError(f"{error}; --max-pixels allows more") from error
    storage.write_whole(target, files.write_picture(picture, FORMATS[target.suffix.lower()]), new=new)
    return f"{picture.shape[2]} x {picture.shape[1]} pixels: {len(stream):,} -> {target.stat().st_size:,} bytes"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m aelib", description="Pictures of any size as learned streams.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("compress", help="a picture file to a stream")
    one.add_argument("source", type=Path, help=_SOURCE)
    one.add_argument("target", type=Path, help="the stream, by custom named .ael")
    one.add_argument("--quality", type=float, default=5.0, help="0 (smallest) to 7 (best), fractions too; default 5")
    one.add_argument("--effort", choices=codecs.EFFORTS, default="default", help="how long to search; default: not")
    one.add_argument("--codec", choices=list(learned.DESIGNS), default="cifar10", help="whose weights; default cifar10")
    two = commands.add_parser("decompress", help="a stream to a picture file")
    two.add_argument("source", type=Path, help="the stream")
    two.add_argument("target", type=Path, help=f"the picture: {', '.join(FORMATS)}")
    two.add_argument(
        "--max-pixels",
        type=positive_int,
        help=f"refuse larger pictures; default {codecs.SAFE_PIXELS}, and {_PIXELS_A_BYTE} a byte of the stream",
    )
    for command in (one, two):
        command.add_argument("--force", action="store_true", help="overwrite the target")
    return parser


def _check(source: Path, target: Path) -> None:
    """Raise ValueError if the target is no place for a file, or is the source, before any work is done."""
    if target.exists() and not target.is_file():
        raise ValueError(f"expected a file to overwrite, got {target}, which is none")
    if target.exists() and source.exists() and target.samefile(source):
        raise ValueError(f"expected two files, got {target} as source and as target")
    nearest = next(parent for parent in target.absolute().parents if parent.exists())
    if not nearest.is_dir():
        raise ValueError(f"expected a folder to write into, got {nearest}, which is none")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; 1 and a line on stderr if that cannot be."""
    given, start, progress = _parser().parse_args(arguments), time.perf_counter(), _Bar()
    try:
        if given.target.exists() and not given.force:
            raise FileExistsError
        _check(given.source, given.target)
        if given.command == "compress":
            codec = zoo.load_learned(given.codec, given.quality, effort=given.effort)
            said = compress(given.source, given.target, replace(codec, progress=progress), new=not given.force)
        elif given.target.suffix.lower() not in FORMATS:
            raise ValueError(f"expected a target named {', '.join(FORMATS)}, got {given.target.name}")
        else:
            said = decompress(given.source, given.target, progress, max_pixels=given.max_pixels, new=not given.force)
    except FileExistsError:
        print(f"expected a new file, got {given.target}, which exists; --force overwrites it", file=sys.stderr)
        return 1
    except (OSError, ValueError, MemoryError, RuntimeError) as error:  # PyTorch lacks memory with a RuntimeError
        print(f"{given.command} {given.source}: {str(error) or 'expected more memory than there is'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{given.command} {given.source}: stopped, nothing was written", file=sys.stderr)
        return 130
    finally:
        progress.close()
    print(f"{said}, {time.perf_counter() - start:.1f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
