"""What these tests share: a made-up campaign."""

from tests.campaigns import make_world, world  # noqa: F401
