"""One page of a secondary capture: images side by side, the answer above them, the evidence below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dicom_node.domain import Evaluation, Finding
from dicom_node.results import wording
from dicom_node.results.display import ByteArray, heat_colours

WIDTH, HEIGHT = 1280, 960
MARGIN = 16
# Viewers write over the corners of whatever they show.
CORNER = 170
PANEL = (WIDTH - 3 * MARGIN) // 2
PANEL_TOP = 100
_HEADLINE_LEFT, _HEADLINE_WIDTH = 80, 800
_EVIDENCE_TOP = PANEL_TOP + PANEL + 8
_FOOTER_TOP = 888

Colour = tuple[int, int, int]
BACKGROUND: Colour = (12, 12, 14)
PANEL_BACKGROUND: Colour = (0, 0, 0)
TEXT: Colour = (240, 240, 240)
QUIET: Colour = (165, 170, 175)
TRACK: Colour = (62, 64, 68)
REGION: Colour = (80, 220, 255)
FOOTER: Colour = (40, 18, 22)
WARNING: Colour = (255, 205, 205)
EVALUATION_COLOURS: dict[Evaluation, Colour] = {
    Evaluation.PRESENT: (255, 176, 32),
    Evaluation.INDETERMINATE: (240, 225, 120),
    Evaluation.ABSENT: (120, 210, 150),
}

MAXIMUM_ROWS = 5
"""How many findings fit under the images."""

# The page is legible at 512 lines: no letter is set smaller than this (PIL size, about 12 px at 512 lines).
SMALL = 23
BODY = 26
TITLE = 38
HEADLINE = 46


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One image on a page.

    ``image`` is at its final size, at most PANEL x PANEL. ``letters`` are what its left, right, top and bottom
    edge face. ``outline`` is in pixels of ``image``. ``captions`` stand at its foot.
    """

    image: Image.Image
    title: str
    letters: tuple[str, str, str, str] | None = None
    captions: tuple[str, ...] = ()
    outline: tuple[tuple[float, float], ...] | None = None
    legend: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """Text in the place of an image."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """The probability of each slice along the body axis; ``ends`` are what the first and last slice face."""

    probabilities: tuple[float, ...]
    threshold: float
    marked: tuple[int, ...]
    ends: tuple[str, str] | None
    evaluation: Evaluation


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """Everything that stands on one page."""

    finding: Finding
    findings: tuple[Finding, ...]
    left: Panel | Statement
    right: Panel | Statement
    profile: Profile | None
    details: tuple[str, ...]
    footer: str
    number: int = 1
    pages: int = 1


def render(page: Page) -> ByteArray:
    """The page as RGB, (HEIGHT, WIDTH, 3)."""
    image = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    draw = ImageDraw.Draw(image)
    _draw_headline(draw, page)
    for column, content in enumerate((page.left, page.right)):
        x = MARGIN + column * (PANEL + MARGIN)
        draw.rectangle((x, PANEL_TOP, x + PANEL - 1, PANEL_TOP + PANEL - 1), fill=PANEL_BACKGROUND)
        if isinstance(content, Panel):
            _draw_panel(image, draw, content, x)
        else:
            _draw_statement(draw, content, x)
    _draw_findings(draw, page, MARGIN)
    if page.profile is not None:
        _draw_profile(draw, page.profile, 2 * MARGIN + PANEL)
    else:
        _draw_lines(draw, page.details, 2 * MARGIN + PANEL, _EVIDENCE_TOP + 2)
    _draw_footer(draw, page)
    return np.asarray(image)


def render_notice(heading: str, lines: Sequence[str], footer: str) -> ByteArray:
    """A page without images, (HEIGHT, WIDTH, 3): why there is no result."""
    image = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, WIDTH, 5), fill=QUIET)
    draw.text((CORNER, 150), _fitted(heading, HEADLINE, WIDTH - 2 * CORNER), TEXT, _font(HEADLINE), anchor="lm")
    _draw_lines(draw, lines, CORNER, 220, TEXT, WIDTH - 2 * CORNER)
    _draw_foot(draw, "This is no statement about the patient", footer)
    return np.asarray(image)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text_width(text: str, size: int) -> float:
    return float(_font(size).getlength(text))


def _fitted(text: str, size: int, width: float) -> str:
    """``text`` shortened with an ellipsis until it is at most ``width`` pixels wide."""
    if _text_width(text, size) <= width:
        return text
    while text and _text_width(text + "...", size) > width:
        text = text[:-1]
    return text.rstrip() + "..."


def _draw_headline(draw: ImageDraw.ImageDraw, page: Page) -> None:
    """The answer in one line at the top.

    Below it, OHIF writes date and description of the series on the left and puts the player of its cine mode in the
    middle.
    """
    finding = page.finding
    colour = EVALUATION_COLOURS[finding.evaluation]
    draw.rectangle((0, 0, WIDTH, 5), fill=colour)
    evaluation = finding.evaluation.value
    label = _fitted(finding.label, TITLE, _HEADLINE_WIDTH - _text_width(f"  {evaluation}", TITLE))
    draw.text((_HEADLINE_LEFT, 25), label, fill=TEXT, font=_font(TITLE), anchor="lm")
    beside = _HEADLINE_LEFT + _text_width(f"{label}  ", TITLE)
    draw.text((beside, 25), evaluation, fill=colour, font=_font(TITLE), anchor="lm")
    right, value = WIDTH - CORNER // 2, wording.probability_text(finding)
    draw.text((right, 38), value, fill=colour, font=_font(HEADLINE), anchor="rm")
    beside = right - _text_width(value, HEADLINE) - 12
    draw.text((beside, 42), "probability", fill=QUIET, font=_font(BODY), anchor="rm")
    draw.text((right, 78), wording.operating_point_text(finding), fill=QUIET, font=_font(SMALL), anchor="rm")


def _draw_panel(image: Image.Image, draw: ImageDraw.ImageDraw, panel: Panel, x: int) -> None:
    left = x + (PANEL - panel.image.width) // 2
    top = PANEL_TOP + (PANEL - panel.image.height) // 2
    image.paste(panel.image.convert("RGB"), (left, top))
    if panel.outline is not None:
        points = [(left + column, top + row) for column, row in panel.outline]
        draw.line(points, fill=PANEL_BACKGROUND, width=5, joint="curve")
        draw.line(points, fill=REGION, width=3, joint="curve")
    _label(draw, (x + 8, PANEL_TOP + 6), panel.title, "la", TEXT)
    for line, caption in enumerate(reversed(panel.captions)):
        _label(draw, (x + 8, PANEL_TOP + PANEL - 8 - line * (SMALL + 6)), caption, "ls", TEXT)
    if panel.letters is not None:
        middle_x, middle_y = x + PANEL // 2, PANEL_TOP + PANEL // 2
        spots = (
            ((x + 8, middle_y), "lm"),
            ((x + PANEL - 8, middle_y), "rm"),
            ((middle_x, PANEL_TOP + 6), "ma"),
            ((middle_x, PANEL_TOP + PANEL - 8), "ms"),
        )
        for letters, (spot, anchor) in zip(panel.letters, spots, strict=True):
            _label(draw, spot, letters, anchor, TEXT, BODY)
    if panel.legend:
        _draw_legend(image, draw, x + PANEL - 34, PANEL_TOP + 56)


def _label(
    draw: ImageDraw.ImageDraw, spot: tuple[int, int], text: str, anchor: str, colour: Colour, size: int = SMALL
) -> None:
    """Text on an image, with a dark rim that keeps it legible on bright anatomy."""
    draw.text(spot, text, fill=colour, font=_font(size), anchor=anchor, stroke_width=2, stroke_fill=PANEL_BACKGROUND)


def _draw_legend(image: Image.Image, draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
    """A bar of the heat colours, strong above, weak below."""
    height, width = 150, 20
    ramp = heat_colours(np.linspace(1, 0, height)[:, None].repeat(width, axis=1))
    draw.rectangle((x - 2, y - 2, x + width + 1, y + height + 1), fill=PANEL_BACKGROUND)
    image.paste(Image.fromarray(ramp, mode="RGB"), (x, y))
    _label(draw, (x - 8, y + 8), "strong", "rm", TEXT)
    _label(draw, (x - 8, y + height - 8), "weak", "rm", TEXT)


def _draw_statement(draw: ImageDraw.ImageDraw, statement: Statement, x: int) -> None:
    _draw_lines(draw, statement.lines, x + 2 * MARGIN, PANEL_TOP + 2 * MARGIN, TEXT, PANEL - 4 * MARGIN)


def _draw_lines(
    draw: ImageDraw.ImageDraw,
    lines: Sequence[str],
    x: int,
    y: int,
    colour: Colour = QUIET,
    width: int = PANEL,
) -> None:
    """Lines of text, each broken between words where it is wider than ``width``."""
    for line in lines:
        for piece in _wrapped(line, BODY if colour == TEXT else SMALL, width):
            draw.text((x, y), piece, fill=colour, font=_font(BODY if colour == TEXT else SMALL))
            y += (BODY if colour == TEXT else SMALL) + 9


def _wrapped(line: str, size: int, width: int) -> list[str]:
    pieces, current = [], ""
    for word in line.split(" "):
        longer = f"{current} {word}".strip()
        if current and _text_width(longer, size) > width:
            pieces.append(current)
            current = word
        else:
            current = longer
    return [*pieces, current]


def _draw_findings(draw: ImageDraw.ImageDraw, page: Page, x: int) -> None:
    """A row for each finding, as many as there is room for: its name, a bar with its threshold, its probability."""
    rows = page.findings if len(page.findings) <= MAXIMUM_ROWS else page.findings[: MAXIMUM_ROWS - 1]
    height = min(50, 160 // min(len(page.findings), MAXIMUM_ROWS))
    bar_left, bar_right = x + 300, x + PANEL - 100
    for index, finding in enumerate(rows):
        y = _EVIDENCE_TOP + index * height - (50 - height) // 4
        colour = EVALUATION_COLOURS[finding.evaluation]
        name_colour = TEXT if finding.number == page.finding.number else QUIET
        draw.text((x, y + 18), _fitted(finding.label, BODY, 290), fill=name_colour, font=_font(BODY), anchor="lm")
        draw.rectangle((bar_left, y + 8, bar_right, y + 28), fill=TRACK)
        filled = bar_left + (bar_right - bar_left) * finding.probability
        draw.rectangle((bar_left, y + 8, max(filled, bar_left + 2), y + 28), fill=colour)
        threshold = bar_left + (bar_right - bar_left) * finding.operating_point.threshold
        draw.line((threshold, y + 4, threshold, y + 32), fill=TEXT, width=3)
        draw.text(
            (x + PANEL - 4, y + 18), wording.probability_text(finding), fill=colour, font=_font(BODY), anchor="rm"
        )
    if hidden := len(page.findings) - len(rows):
        text = f"and {hidden} more, on the last page"
        draw.text((x, _EVIDENCE_TOP + len(rows) * height + 12), text, fill=QUIET, font=_font(SMALL), anchor="lm")


def _draw_profile(draw: ImageDraw.ImageDraw, profile: Profile, x: int) -> None:
    """Bars of the slice probabilities, from the stack's first slice to its last."""
    top, bottom = _EVIDENCE_TOP + 6, _EVIDENCE_TOP + 100
    left, right = x + 40, x + PANEL - 40
    colour = EVALUATION_COLOURS[profile.evaluation]
    draw.rectangle((left, top, right, bottom), fill=(26, 27, 30))
    count = len(profile.probabilities)
    for index, probability in enumerate(profile.probabilities):
        start = left + (right - left) * index / count
        end = max(left + (right - left) * (index + 1) / count - 1, start)
        draw.rectangle((start, bottom - (bottom - top) * probability, end, bottom), fill=colour)
    level = bottom - (bottom - top) * profile.threshold
    for start in range(left, right, 14):
        draw.line((start, level, min(start + 7, right), level), fill=TEXT, width=2)
    for index in profile.marked:
        centre = left + (right - left) * (index + 0.5) / count
        draw.polygon([(centre - 8, bottom + 14), (centre + 8, bottom + 14), (centre, bottom + 2)], fill=REGION)
    if profile.ends is not None:
        draw.text((left - 8, (top + bottom) / 2), profile.ends[0], fill=TEXT, font=_font(BODY), anchor="rm")
        draw.text((right + 8, (top + bottom) / 2), profile.ends[1], fill=TEXT, font=_font(BODY), anchor="lm")
    draw.text((left, bottom + 18), "Probability by slice", fill=QUIET, font=_font(SMALL))
    draw.text((right, bottom + 18), "shown slices", fill=QUIET, font=_font(SMALL), anchor="ra")
    width = _text_width("shown slices", SMALL)
    mark = right - width - 16
    draw.polygon([(mark - 8, bottom + 38), (mark + 8, bottom + 38), (mark, bottom + 26)], fill=REGION)


def _draw_footer(draw: ImageDraw.ImageDraw, page: Page) -> None:
    numbered = f"{wording.NOT_VERIFIED}   (page {page.number} of {page.pages})"
    _draw_foot(draw, wording.NOT_VERIFIED if page.pages == 1 else numbered, page.footer)


def _draw_foot(draw: ImageDraw.ImageDraw, notice: str, footer: str) -> None:
    """What must never be missed, centred: the corners are where viewers write the window and the frame."""
    draw.rectangle((0, _FOOTER_TOP, WIDTH, HEIGHT), fill=FOOTER)
    draw.text((WIDTH // 2, _FOOTER_TOP + 21), notice, fill=WARNING, font=_font(BODY), anchor="mm")
    fitted = _fitted(footer, SMALL, WIDTH - 2 * CORNER)
    draw.text((WIDTH // 2, _FOOTER_TOP + 52), fitted, fill=TEXT, font=_font(SMALL), anchor="mm")
