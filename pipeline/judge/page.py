"""Renders the page: one HTML file with its scripts and what it shows."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

# In this order: the last one uses the others.
_SCRIPTS = ("schedule.js", "table.js", "player.js", "store.js", "judge.js")


def render(content: dict[str, Any]) -> str:
    """Return the page; names are escaped, and the page shows them as text alone.

    A content security policy allows the page's own script, and videos from disk: nothing else
    could be loaded, whatever a name holds.
    """
    environment = Environment(
        loader=PackageLoader("pipeline.judge"), autoescape=True, undefined=StrictUndefined
    )
    script = "\n".join(environment.get_template(name).render() for name in _SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template("judge.html")
    return page.render(content=content, script=script, script_digest=digest)
