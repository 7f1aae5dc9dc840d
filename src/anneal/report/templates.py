"""Templates of the report; an undefined name is an error."""

from collections.abc import Mapping
from typing import Any

import jinja2


def make_environment(*, autoescape: bool) -> jinja2.Environment:
    """Return the Jinja environment of the report's templates.

    Args:
        autoescape: whether what is filled in is escaped for HTML.
    """
    return jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=autoescape,
    )


def fill_in(
    environment: jinja2.Environment, template: str, *, name: str, values: Mapping[str, Any]
) -> str:
    """Render a template.

    Args:
        environment: from :func:`make_environment`, with what the template calls.
        template: its text.
        name: its file, for messages.
        values: what it is about.

    Raises:
        ValueError: the template names something that is not there, or is no template.
    """
    try:
        return environment.from_string(template).render(values)
    except jinja2.TemplateError as error:
        line = getattr(error, "lineno", None)
        at = f", line {line}" if line else ""
        raise ValueError(f"{name}{at}: {error}") from None
