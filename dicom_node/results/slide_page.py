"""What a page shows of a slide besides its overview: the tiles that speak most for a finding, and where they lie."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from dicom_node.domain import Finding, ImageStack
from dicom_node.results import wording
from dicom_node.results.page import PANEL, REGION, Panel

_ACROSS = 2
_GAP = 6
_TILE = (PANEL - _GAP) // _ACROSS
_NUMBER_SIZE = 26
_BLACK = (0, 0, 0)


def tiles_panel(finding: Finding) -> Panel:
    """The first four key tiles, two by two, numbered as on the overview."""
    sheet = Image.new("RGB", (PANEL, PANEL))
    draw = ImageDraw.Draw(sheet)
    for index, tile in enumerate(finding.key_tiles[: _ACROSS**2]):
        left, top = (_TILE + _GAP) * (index % _ACROSS), (_TILE + _GAP) * (index // _ACROSS)
        sheet.paste(Image.fromarray(tile.pixels).resize((_TILE, _TILE), Image.Resampling.BICUBIC), (left, top))
        text = f"{index + 1}: {wording.percent(tile.probability)}"
        _write(draw, (left + 10, top + _TILE - 12), text, "ls")
    return Panel(sheet, "")


def places_panel(overview: Panel, stack: ImageStack, finding: Finding) -> Panel:
    """The overview with a numbered square around each key tile."""
    image = overview.image.convert("RGB")
    draw = ImageDraw.Draw(image)
    rows, columns = stack.pixels.shape[1:]
    for number, tile in enumerate(finding.key_tiles[: _ACROSS**2], 1):
        corners = [(column * image.width / columns, row * image.height / rows) for column, row in tile.outline]
        (left, top), (right, bottom) = corners[0], corners[2]
        # A tile may be smaller than a pixel of the page: its mark is never smaller than can be seen.
        grown = max(0.0, 8 - (right - left) / 2)
        draw.rectangle((left - grown - 1, top - grown - 1, right + grown + 1, bottom + grown + 1), outline=_BLACK)
        draw.rectangle((left - grown, top - grown, right + grown, bottom + grown), outline=REGION, width=2)
        _write(draw, (right + grown + 4, (top + bottom) / 2), str(number), "lm")
    return Panel(image, "Where these tiles lie", captions=overview.captions)


def slide_caption(stack: ImageStack) -> str:
    """How much of the glass the overview shows: ``Slide, 22.4 mm x 15.0 mm``."""
    if stack.slide is None:
        return ""
    height, width = stack.slide.placement.size_mm
    return f"Slide, {width:.1f} mm x {height:.1f} mm"


def _write(draw: ImageDraw.ImageDraw, spot: tuple[float, float], text: str, anchor: str) -> None:
    font = ImageFont.load_default(_NUMBER_SIZE)
    draw.text(spot, text, fill=REGION, font=font, anchor=anchor, stroke_width=2, stroke_fill=_BLACK)
