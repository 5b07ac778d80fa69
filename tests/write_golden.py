"""Write ``golden_streams.json``: streams of the shipped learned codecs and what they decode to, for test_golden.py.

Run it only when the weights or the format change on purpose: ``python tests/write_golden.py``.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from aelib import data, metrics, zoo
from aelib import images as im

FILE = Path(__file__).parent / "golden_streams.json"
SETTINGS = [(0.0, "default"), (2.5, "default"), (4.0, "default"), (7.0, "default"), (3.0, "slow"), (3.0, "best")]
COUNT = 6


def pictures(dataset):
    """The images of the bundled sample that are coded, and a picture of many of them."""
    images = data.load(dataset, "test", source="sample").images
    return images[:COUNT], im.tile(images[:12], 4)[None, :, :90, :77]


def digest(latents):
    """What tells latents, int64, from others on every machine."""
    return hashlib.sha256(np.ascontiguousarray(latents).astype("<i8").tobytes()).hexdigest()


def main():
    """Encode, decode, write."""
    rows = []
    for dataset in data.CLASSES:
        for kind, images in zip(("images", "picture"), pictures(dataset), strict=True):
            for quality, effort in SETTINGS:
                codec = zoo.load_learned(dataset, quality, effort=effort)
                streams = codec.encode(images)
                row = {"dataset": dataset, "kind": kind, "quality": quality, "effort": effort}
                row["streams"] = [stream.hex() for stream in streams]
                row["latents_sha256"] = [digest(latents) for latents in codec.latents(streams)]
                row["psnr"] = [round(value, 3) for value in metrics.psnr(images, codec.decode(streams)).tolist()]
                rows.append(row)
    FILE.write_text(json.dumps({"schema": 1, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
