"""What these tests share: a made-up campaign, and a page with most verdicts on it."""

from tests.campaigns import make_world, world  # noqa: F401
from tests.report.showcase import alone, injected, showcase  # noqa: F401
