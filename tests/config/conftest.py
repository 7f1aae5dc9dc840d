"""What these tests share: the default run of conf/."""

from tests.configurations import _composed, experiment, plain  # noqa: F401
