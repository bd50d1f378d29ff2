"""Renders the content of a page to one HTML file."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.shell.words import format_bytes

_PAGE, _SCRIPT = "report.html", "report.js"


def render(content: dict[str, Any]) -> str:
    """Return the page; every value is escaped.

    A content security policy allows only the page's own script, and no address but ``data:``
    pictures: not even a name that got past the escaping could load anything.
    """
    environment = Environment(
        loader=PackageLoader("pipeline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"pc": _per_cent, "signed": _signed, "bytes": format_bytes}
    script = environment.get_template(_SCRIPT).render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template(_PAGE)
    # The page states its own size: the first rendering measures it.
    size = len(page.render(**content, script_digest=digest, page_size=10**6).encode())
    return page.render(**content, script_digest=digest, page_size=size)


def _per_cent(share: float | None, digits: int = 1) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f}"


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")
