"""Forest plot of the judged claims: each on the scale of its own tolerance, as SVG.

The paper's number is at 0 and its tolerance from -1 to 1, so that claims in points, in errors and
in updates stand under each other. The page styles it by class and links each row to its claim; as
a file it carries its own style on white.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from anneal.claims.observed import compared_values
from anneal.claims.over_subjects import evidence_of
from anneal.claims.places import spelled
from anneal.claims.schema import Claim, OrderClaim, SpeedClaim
from anneal.claims.verdict import Judgement
from anneal.claims.words import SIGNS, finding_words, marked_verdict
from anneal.report.content import Content, table_words
from anneal.report.counts import COUNTED, judged, of_role
from anneal.results.metrics import Evidence

LIMIT = 5.0  # tolerances shown on each side; what is beyond leaves with an arrow
ROW, TOP, BOTTOM = 21, 26, 46
SIGN = 24  # width of a verdict's sign
LETTER, BOLD_LETTER = 6.8, 7.5  # widths in a label
SIDES = {
    "reproduced": "agrees", "agrees so far": "agrees so-far",
    "lower": "differs", "higher": "differs", "not the paper's order": "differs",
    "not reproduced": "differs", "differs so far": "differs so-far",
    "too close to call": "open",
}  # fmt: skip
STYLE = (
    "svg{font:12px system-ui,'Segoe UI',Roboto,Helvetica,Arial,sans-serif}"
    ".ground{fill:#ffffff}text{fill:#1c2024}.quiet{fill:#565d66}.grid{stroke:#d9dde2}"
    ".zero{stroke:#2f6fa8}.band{fill:#dbe9f6}.interval{stroke-width:2.5}.run{fill:none}"
    + "".join(  # colours written out: what draws a PNG knows no variables
        f".{side} .interval,.{side} .mean,.{side} .run{{stroke:{colour}}}"
        f".{side} .mean,.{side} .arrow,.{side} .verdict{{fill:{colour}}}"
        for side, colour in (("agrees", "#00734f"), ("differs", "#b3400a"), ("open", "#8a5a00"))
    )
    + ".so-far .mean{fill:#ffffff}.interval{opacity:.6}.run{opacity:.7}.mean{stroke-width:1.6}"
)


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """One claim on the scale of its tolerance.

    Args:
        found: the judgement.
        mean: of our runs; 0 is the paper's number, -1 and 1 the ends of the tolerance.
        low: end of the interval that decides.
        high: the other end.
        runs: single runs or pairs.
        is_open: whether more is as good: the band has no upper end.
    """

    found: Judgement
    mean: float
    low: float
    high: float
    runs: tuple[float, ...]
    is_open: bool

    @property
    def label(self) -> str:
        """Place and row, as short as a picture needs them."""
        _, table, *names = self.found.claim.id.split("/")
        place = table_words(table)
        return f"{place[0].upper()}{place[1:]}: {spelled('_'.join(names))}"


def scale_of(claim: Claim) -> tuple[float, float]:
    """Return the value at 0 and the length of one tolerance, in the claim's unit.

    An order is at 0 where the paper has it and at -1 where it no longer holds; without the paper's
    numbers a margin below zero is compared with no difference, and any other with one unit.
    """
    if isinstance(claim, SpeedClaim):
        return claim.ratio, claim.tolerance
    if not isinstance(claim, OrderClaim):
        return claim.value, claim.tolerance
    paper = claim.paper_number
    if paper is None:
        return (0.0, -claim.margin) if claim.margin < 0 else (claim.margin + 1.0, 1.0)
    return paper, paper - claim.margin


def values_behind(judgement: Judgement, evidence: Mapping[str, Evidence]) -> list[float]:
    """Return single runs, pairs or ratios behind a claim; none where an experiment has no run."""
    names = judgement.claim.experiments
    if not all(name in evidence and evidence[name].runs for name in names):
        return []
    parts = evidence_of(judgement.claim, evidence, names)
    return list(compared_values(judgement.claim, parts).values())


def forest_rows(
    judgements: Sequence[Judgement], evidence: Mapping[str, Evidence]
) -> tuple[ForestRow, ...]:
    """Return the claims that have an interval, by verdict and then from low to high.

    Args:
        judgements: on any claims; those without an interval are left out.
        evidence: by experiment, for the single runs.
    """
    rows = []
    for found in judged(judgements):
        ours = found.ours
        if ours is None or ours.low is None or ours.high is None:
            continue
        centre, unit = scale_of(found.claim)
        rows.append(
            ForestRow(
                found=found,
                mean=(ours.mean - centre) / unit,
                low=(ours.low - centre) / unit,
                high=(ours.high - centre) / unit,
                runs=tuple((value - centre) / unit for value in values_behind(found, evidence)),
                is_open=isinstance(found.claim, OrderClaim),
            )
        )
    order = list(SIGNS)
    return tuple(sorted(rows, key=lambda row: (order.index(row.found.verdict), row.mean)))


def counted_claims(content: Content) -> tuple[Judgement, ...]:
    """Return the judgements that the forest plot of a report is made of."""
    return of_role(content.all_judgements(), *COUNTED)


def draw_forest(
    rows: Sequence[ForestRow],
    *,
    address: Callable[[Judgement], str] | None = None,
    is_narrow: bool = False,
) -> Markup:
    """Draw the claims under each other.

    Args:
        rows: from :func:`forest_rows`, at least one.
        address: where a click leads; without it the picture is a file with its own style.
        is_narrow: whether words stand above each row, for a phone.
    """
    width, left, right = (360, 12, 348) if is_narrow else (980, 350, 720)
    more = 0 if is_narrow else max(0, _widest(rows) + 12 + SIGN - left)  # room for long labels
    width, left, right = width + more, left + more, right + more
    step = 36 if is_narrow else ROW
    height = TOP + step * len(rows) + BOTTOM

    def at(value: float) -> float:
        part = (min(LIMIT, max(-LIMIT, value)) + LIMIT) / (2 * LIMIT)
        return round(left + part * (right - left), 1)

    floor = TOP + step * len(rows)
    parts = [f'<path class="grid" d="M{left} {floor + 4}H{right}"/>']
    for tick in range(-int(LIMIT), int(LIMIT) + 1):
        x = at(tick)
        line = f'<path class="grid" d="M{x} {floor + 4}v5"/>'
        parts.append(
            f'{line}<text class="quiet" x="{x}" y="{floor + 20}" text-anchor="middle">{tick}</text>'
        )
    scale = "tolerances from the paper's number"
    if not is_narrow:
        scale += "; in the band the claim holds"
    parts.append(
        f'<text class="quiet" x="{at(0)}" y="{floor + 38}" text-anchor="middle">{scale}</text>'
    )
    heads = [(at(0), "middle", "the paper")] if is_narrow else [
        (left - 12, "end", "claim"), (at(0), "middle", "the paper"), (right + 14, "start", "ours"),
    ]  # fmt: skip
    parts += [
        f'<text class="quiet" x="{x}" y="{TOP - 12}" text-anchor="{side}">{words}</text>'
        for x, side, words in heads
    ]
    ends = (left, "start", "less than the paper"), (right, "end", "more")
    parts += [
        f'<text class="quiet" x="{x}" y="{TOP - 12}" text-anchor="{side}">{words}</text>'
        for x, side, words in ends
    ]
    body = [Markup("").join(map(Markup, parts))]
    for place, row in enumerate(rows):
        top = TOP + step * place
        drawn = _row(row, at=at, top=top, right=right, is_narrow=is_narrow, left=left)
        title = f"{row.found.claim.text}. {marked_verdict(row.found)}: {row.found.reason}"
        drawn = Markup("<title>{}</title>{}").format(title, drawn)
        kind = SIDES.get(row.found.verdict, "open")
        body.append(
            Markup('<a class="{}" href="{}">{}</a>').format(kind, address(row.found), drawn)
            if address
            else Markup('<g class="{}">{}</g>').format(kind, drawn)
        )
    words = f"{len(rows)} claims on the scale of their tolerances; the table below has the numbers"
    drawing = Markup("").join(body)
    if address:
        return Markup(
            '<svg class="forest {}" viewBox="0 0 {} {}" role="group" aria-label="{}">{}</svg>'
        ).format("narrow" if is_narrow else "wide", width, height, words, drawing)
    ground = Markup(f'<rect class="ground" fill="#ffffff" width="{width}" height="{height}"/>')
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" width="{}" height="{}" '
        'role="img"><title>{}</title><style>{}</style>{}{}</svg>\n'
    ).format(width, height, width, height, words, Markup(STYLE), ground, drawing)


def _widest(rows: Sequence[ForestRow]) -> int:
    """Return about how wide the widest label is."""
    of_letter = {True: BOLD_LETTER, False: LETTER}
    widths = [len(row.label) * of_letter[row.found.claim.role == "headline"] for row in rows]
    return round(max(widths))


def _row(
    row: ForestRow,
    *,
    at: Callable[[float], float],
    top: int,
    left: int,
    right: int,
    is_narrow: bool,
) -> Markup:
    """Draw one claim: band, interval, runs, mean; label and numbers beside or above them."""
    middle = top + (26 if is_narrow else ROW // 2)
    words = top + 13 if is_narrow else middle + 4
    band_right = right if row.is_open else at(1)
    parts = [
        f'<rect class="band" x="{at(-1)}" y="{middle - 8}" '
        f'width="{round(band_right - at(-1), 1)}" height="16"/>',
        f'<path class="zero" d="M{at(0)} {middle - 8}v16"/>',
        f'<path class="interval" d="M{at(row.low)} {middle}H{at(row.high)}"/>',
    ]
    parts += [
        f'<circle class="run" cx="{at(value)}" cy="{middle}" r="2.6"/>'
        for value in row.runs
        if abs(value) <= LIMIT
    ]
    if row.low < -LIMIT:
        parts.append(f'<path class="arrow" d="M{left - 7} {middle}l7 -4v8z"/>')
    if row.high > LIMIT:
        parts.append(f'<path class="arrow" d="M{right + 7} {middle}l-7 -4v8z"/>')
    if abs(row.mean) <= LIMIT:
        parts.append(_mark(row, x=at(row.mean), y=middle))
    sign = SIGNS[row.found.verdict]
    weight = Markup(' font-weight="700"') if row.found.claim.role == "headline" else Markup("")
    label_x, side = (left + SIGN, "start") if is_narrow else (left - 12 - SIGN, "end")
    sign_x = left if is_narrow else left - 12
    room = right - label_x
    if is_narrow and _widest([row]) > room:
        weight += Markup(' textLength="{}" lengthAdjust="spacingAndGlyphs"').format(room)
    drawn = Markup("".join(parts)) + Markup(  # apart: a font without the sign would spoil the label
        '<text x="{}" y="{}" text-anchor="{}"{}>{}</text>'
        '<text class="verdict" x="{}" y="{}" text-anchor="{}" font-weight="700">{}</text>'
    ).format(label_x, words, side, weight, row.label, sign_x, words, side, sign)
    if is_narrow:
        return drawn
    named = f" of {row.found.claim.experiments[0]}"  # the label says it, and there is no room
    return drawn + Markup('<text x="{}" y="{}">{}</text>').format(
        right + 14, words, finding_words(row.found).replace(named, "")
    )


def _mark(row: ForestRow, *, x: float, y: int) -> str:
    """Draw the mean; its shape says the verdict without its colour."""
    kind = SIDES.get(row.found.verdict, "open").split()[0]
    if kind == "agrees":
        shape = f"M{x} {y - 6}l6 6l-6 6l-6 -6z"
    elif kind == "open":
        shape = f"M{x - 4.5} {y - 4.5}h9v9h-9z"
    else:  # a triangle that points to where ours is
        way = -1 if row.mean < 0 else 1
        shape = f"M{x + way * 6} {y}l{-way * 10} -6v12z"
    return f'<path class="mean" d="{shape}"/>'
