"""Small picture of a claim: the paper's number with its tolerance, our runs with their interval.

Inline SVG whose colours come from the page's style sheet, by class: ``band`` and ``paper`` for the
paper, ``interval``, ``mean`` and ``run`` for us.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from anneal.claims.schema import Claim, OrderClaim, SpeedClaim, ValueClaim
from anneal.claims.verdict import Judgement
from anneal.claims.words import ours_words, paper_words
from anneal.io.text import number
from anneal.results.metrics import find_metric
from anneal.results.statistics import Interval

WIDTH, HEIGHT = 260, 46
LEFT, RIGHT = 8, WIDTH - 8
MIDDLE, FLOOR = 16, 31  # of the drawn band, from above
LONGEST = 1.0  # an interval may stretch the frame on each side by this part of what else is in it


def draw_claim(judgement: Judgement, values: Sequence[float]) -> Markup:
    """Return the picture of one claim as SVG, with a title for screen readers.

    Left is less. A band is where the claim holds: the paper's value with its tolerance, or all
    beyond the margin where two experiments are compared. An interval so long that it would flatten
    the rest leaves the frame with an arrow.

    Args:
        judgement: on the claim.
        values: single runs, pairs or ratios, in the unit of the claim.
    """
    claim, ours = judgement.claim, judgement.ours
    paper, low, high = claimed_range(claim)
    framed = [value for value in (paper, low, high, *values) if value is not None]
    frame = _frame(framed, ours)
    at = frame.at
    left = LEFT if low is None else at(low)
    right = RIGHT if high is None else at(high)
    parts = [
        f'<rect class="band" x="{left}" y="2" width="{max(1.0, round(right - left, 1))}" '
        f'height="{FLOOR - 4}"/>',
        f'<path class="floor" d="M{LEFT} {FLOOR}H{RIGHT}"/>',
    ]
    if paper is not None:
        parts.append(f'<path class="paper" d="M{at(paper)} 2V{FLOOR - 2}"/>')
        parts.append(_label(at(paper), number(paper), "paper"))
    if ours is not None:
        parts += _ours(ours, frame)
        if paper is None or abs(at(ours.mean) - at(paper)) > 56:  # else both would overlap
            decimals = 2 if isinstance(claim, SpeedClaim) else find_metric(claim.metric).decimals
            parts.append(_label(at(ours.mean), f"{ours.mean:.{decimals}f}", "ours"))
    parts += [f'<circle class="run" cx="{at(value)}" cy="{MIDDLE}" r="3"/>' for value in values]
    words = Markup("Paper: {}. Ours: {}.").format(paper_words(claim), ours_words(judgement))
    body = Markup("".join(parts))  # numbers of ours alone
    return Markup(
        '<svg class="picture" viewBox="0 0 {} {}" role="img"><title>{}</title>{}</svg>'
    ).format(WIDTH, HEIGHT, words, body)


def claimed_range(claim: Claim) -> tuple[float | None, float | None, float | None]:
    """Return the paper's number and the range in which ours must be; None without a number."""
    if isinstance(claim, ValueClaim):
        return claim.value, claim.value - claim.tolerance, claim.value + claim.tolerance
    if isinstance(claim, OrderClaim):
        return claim.paper_number, claim.margin, None
    return claim.ratio, claim.ratio - claim.tolerance, claim.ratio + claim.tolerance


@dataclass(frozen=True)
class _Frame:
    """The values at the left and at the right edge."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Return the position of a value, to a tenth; at the edge if it is outside the frame."""
        part = (value - self.low) / (self.high - self.low)
        return round(LEFT + (RIGHT - LEFT) * min(1.0, max(0.0, part)), 1)


def _frame(framed: Sequence[float], widest: Interval | None) -> _Frame:
    low, high = min(framed), max(framed)
    room = LONGEST * (high - low)
    if widest is not None and widest.low is not None and widest.high is not None:
        low, high = min(low, max(widest.low, low - room)), max(high, min(widest.high, high + room))
    margin = 0.06 * (high - low) or 1.0
    return _Frame(low - margin, high + margin)


def _ours(ours: Interval, frame: _Frame) -> list[str]:
    at, parts = frame.at, []
    if ours.low is not None and ours.high is not None:
        parts.append(f'<path class="interval" d="M{at(ours.low)} {MIDDLE}H{at(ours.high)}"/>')
    if ours.low is not None and ours.low < frame.low:
        parts.append(f'<path class="arrow" d="M{LEFT - 6} {MIDDLE}l7 -5v10z"/>')
    if ours.high is not None and ours.high > frame.high:
        parts.append(f'<path class="arrow" d="M{RIGHT + 6} {MIDDLE}l-7 -5v10z"/>')
    parts.append(f'<path class="mean" d="M{at(ours.mean)} {MIDDLE - 8}v16"/>')
    return parts


def _label(x: float, words: str, of: str) -> str:
    """Write a number under the picture, inside its edges."""
    place = min(WIDTH - 18, max(18, x))
    return f'<text class="{of}" x="{place}" y="{HEIGHT - 3}" text-anchor="middle">{words}</text>'
