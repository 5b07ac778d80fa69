"""HTML and SVG of what the slider shows, for the widget and for the page that needs no kernel."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from aelib.views import Choice, View, coded, points

ZOOM = 3
_LABEL_WIDTH = 96  # CSS pixels
_AXES = {"mnist": (2.0, 1000.0, 8.0, 40.0), "cifar10": (2.0, 2000.0, 8.0, 36.0)}  # bytes an image, dB
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 340, 300, 40, 40
_STYLES = {  # Okabe and Ito's palette (2008), as in the figures
    "every K": ("#0072B2", ""),
    "every quality": ("#56B4E9", "4 2"),
    "JPEG, shared header": ("#D55E00", ""),
    "JPEG, whole file": ("#D55E00", "2 3"),
}


@lru_cache(maxsize=256)
def view_html(view: View, width: int) -> str:
    """Return the rows of `view` as HTML, pictures at most `width` CSS pixels wide, each row with its own alt text."""
    lines = []
    for row in view.rows:
        alt = html.escape(f"{view.title}: {row.label}, {row.note}" + (f": {'; '.join(row.cells)}" if row.cells else ""))
        label, note = html.escape(row.label), html.escape(row.note)
        cells = "".join(f'<span style="flex:1">{html.escape(cell).replace(", ", "<br>")}</span>' for cell in row.cells)
        lines.append(
            f'<span><b style="font-size:13px">{label}</b><br><span style="font-size:11px">{note}</span></span>'
            f"<div>{_image(row.png, alt, 'max-width:none;image-rendering:pixelated')}"
            f'<div style="display:flex;text-align:center;font-size:11px;line-height:14px">{cells}</div></div>'
        )
    style = (
        f"display:grid;align-items:center;line-height:1.2;grid-template-columns:{_LABEL_WIDTH}px minmax(0,{width}px)"
    )
    return f'<div style="{style}">{"".join(lines)}</div>'


def columns_html(view: View) -> str:
    """Return the pictures of `view` side by side as HTML, all of one width, one below the other on a narrow screen."""
    figures = []
    for row in view.rows:
        label = html.escape(": ".join(filter(None, (row.label, row.note))))
        picture = _image(row.png, f"{html.escape(view.title)}: {label}", "")
        # Labels of one line and of two end at the same height, or the pictures would not be level.
        caption = f'<figcaption style="display:flex;align-items:flex-end;min-height:2.6em">{label}</figcaption>'
        figures.append(f'<figure style="margin:0;line-height:1.3">{caption}{picture}</figure>')
    columns = "grid-template-columns:repeat(auto-fit,minmax(min(190px,100%),1fr))"
    return f'<div style="display:grid;{columns};gap:8px;max-width:1000px">{"".join(figures)}</div>'


def _image(png: bytes, alt: str, style: str) -> str:
    # With its shape known, it has its height before it is decoded, and nothing below it jumps.
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    style = f"display:block;width:100%;aspect-ratio:{width}/{height};margin:0;{style}"
    return f'<img alt="{alt}" src="{source}" style="{style}">'


def caption_html(view: View, *, live: bool = True) -> str:
    """Return the caption of `view`, a line each; if `live`, screen readers are asked to read it out when it changes."""
    lines = "<br>".join(html.escape(line) for line in view.caption.split("\n"))
    attributes = 'aria-live="polite" ' if live else ""
    return f'<div {attributes}style="line-height:1.45">{lines}</div>'


def with_still(bundle: Any, view: View, png: bytes) -> Any:
    """Return what a widget's `_repr_mimebundle_` gives with words and a picture for readers without a kernel.

    GitHub is one of them; JupyterLab shows the widget instead as long as there is a kernel.
    """
    formats = bundle[0] if isinstance(bundle, tuple) else bundle
    if formats is not None:
        formats["text/plain"] = f"{view.title}\n{view.caption}"
        formats["image/png"] = png
    return bundle


@lru_cache(maxsize=512)
def curve_svg(choice: Choice) -> str:
    """Return mean PSNR against mean bytes of the images on screen as SVG, with a dot where the choice stands."""
    left, right, low, high = _AXES[choice.dataset]

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across = math.log(point[0] / left) / math.log(right / left)
        up = (point[1] - low) / (high - low)
        # Single images can lie beyond the axes; the dot then stands at the edge.
        across, up = (min(max(share, 0.0), 1.0) for share in (across, up))
        return _LEFT + across * (_WIDTH - _LEFT - 14), (_HEIGHT - _BOTTOM) * (1 - up)

    here = coded(choice).point
    text = f"mean PSNR against mean bytes an image; here {here[0]:.1f} bytes, {here[1]:.1f} dB"
    parts = [f'<title>{text}</title><g stroke="currentColor" stroke-opacity="0.15">']
    ticks = [size for size in (2, 5, 10, 20, 50, 100, 200, 500, 1000) if left <= size <= right]
    levels = range(int(low), int(high) + 1, 4)
    parts += [_line([place((size, low)), place((size, high))]) for size in ticks]
    parts += [_line([place((left, level)), place((right, level))]) for level in levels]
    parts.append('</g><g fill="currentColor" font-size="11">')
    parts += [_text(place((size, low))[0], _HEIGHT - _BOTTOM + 14, f"{size}", "middle") for size in ticks]
    parts += [_text(_LEFT - 4, place((left, level))[1] + 4, f"{level}", "end") for level in levels[:-1]]
    parts.append(_text(_WIDTH - 8, _HEIGHT - 6, "bytes an image; autoencoder: shared header", "end"))
    parts.append(_text(2, 10, "dB", "start"))
    for row, (label, curve) in enumerate(points(choice).items()):
        colour, dash = _STYLES[label]
        shown = [place(point) for point in curve if left <= point[0] <= right and low <= point[1] <= high]
        parts.append(f'<g fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}">{_line(shown)}')
        top = 12 + 15 * row
        parts.append(
            f"{_line([(_LEFT + 8, top - 4), (_LEFT + 30, top - 4)])}</g>{_text(_LEFT + 35, top, label, 'start')}"
        )
    x, y = place(here)
    parts.append(f'</g><circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="#0072B2" stroke="white" stroke-width="2"/>')
    style = "width:100%;max-width:340px;height:auto;display:block"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text}" style="{style}">{"".join(parts)}</svg>'
    )


def _line(places: Sequence[tuple[float, float]]) -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{joined}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
