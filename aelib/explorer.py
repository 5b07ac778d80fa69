"""One page with the slider that needs no kernel and no network: ``python -m aelib.explorer explorer.html``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from aelib import data, markup, storage, views, zoo
from aelib.quantise import QUALITIES
from aelib.views import LABELS, Choice

TEMPLATE = Path(__file__).with_name("explorer.html")
SHOWN_QUALITIES = QUALITIES[1::3]


def frame(choice: Choice) -> dict[str, str]:
    """Return what stands on the page for one choice, as HTML."""
    view = views.render(choice)
    width = markup.ZOOM * data.SHAPES[choice.dataset][2] * choice.count
    return {
        "picture": markup.view_html(view, width),
        "caption": markup.caption_html(view, live=False),  # what it is put in is live already
        "curve": markup.curve_svg(choice),
    }


def page() -> str:
    """Return the whole page: every size of the convolutional networks at some qualities, on both data sets."""
    content: dict[str, Any] = {}
    for dataset in ("cifar10", "mnist"):
        sizes = zoo.sizes(dataset, "conv")
        content[dataset] = {
            "label": LABELS[dataset],
            "sizes": sizes,
            "qualities": [f"quality {quality} of {QUALITIES[-1]}" for quality in SHOWN_QUALITIES],
            "frames": [
                [frame(Choice(dataset, "conv", size, quality)) for quality in SHOWN_QUALITIES] for size in sizes
            ],
        }
    # "</script" would end the element that holds the JSON, and "<!--" could keep it from ending.
    text = json.dumps(content, ensure_ascii=False).replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace("FRAMES", text, 1)


def main() -> None:
    """Write the page where the command line says."""
    parser = argparse.ArgumentParser(prog="python -m aelib.explorer", description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=Path("explorer.html"))
    given = parser.parse_args()
    storage.write_whole(given.file, page().encode())
    print(f"{given.file}: {given.file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
