"""The animated picture at the top of README.md, fewer and fewer numbers and JPEG beside them: ``make gif``."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from aelib import storage, views, zoo
from aelib.views import Choice

FILE = Path(__file__).parent.parent / "results" / "figures" / "degradation.gif"
ZOOM, LABEL, LINE, HEAD = 3, 118, 18, 26  # pixels
HOLD, MOVE = 1600, 800  # milliseconds


def frame(choice: Choice) -> Image.Image:
    """Return originals, autoencoder and JPEG with a shared header, each with what it costs."""
    view = views.render(choice)
    rows = [(row, Image.open(io.BytesIO(row.png))) for row in view.rows[:3]]
    width, height = (ZOOM * side for side in rows[0][1].size)
    picture = Image.new("RGB", (LABEL + width, HEAD + len(rows) * (height + LINE)), "white")
    draw = ImageDraw.Draw(picture)
    large, small = ImageFont.load_default(15), ImageFont.load_default(11)
    draw.text((6, 5), f"{view.title}: {views.coded(choice).point[0]:.0f} bytes an image, shared header", "black", large)
    for number, (row, strip) in enumerate(rows):
        top = HEAD + number * (height + LINE)
        picture.paste(strip.resize((width, height), Image.Resampling.NEAREST), (LABEL, top))
        draw.text((6, top + 26), row.label, "black", large)
        draw.text((6, top + 46), row.note.replace(", ", ",\n"), "black", small)
        for column, cell in enumerate(row.cells):
            middle = LABEL + (column + 0.5) * width / len(row.cells)
            draw.text((middle, top + height + 3), cell, "black", small, anchor="ma")
    return picture


def main() -> None:
    """Write the file."""
    sizes = zoo.sizes("cifar10", "conv")[::-1]
    frames = [frame(Choice("cifar10", "conv", size)) for size in sizes]
    palette = [picture.quantize(128, dither=Image.Dither.NONE) for picture in frames]
    times = [HOLD, *[MOVE] * (len(sizes) - 2), HOLD]
    palette[0].save(buffer := io.BytesIO(), "GIF", save_all=True, append_images=palette[1:], duration=times, loop=0)
    storage.write_whole(FILE, buffer.getvalue())
    print(f"{FILE.name}: {len(frames)} frames, {FILE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
