"""The page of messages tells what the program says."""

from __future__ import annotations

import ast
import re

from tests.helpers.places import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"


def literals() -> str:
    """All texts in the code, those of f-strings with … for each value."""
    texts = []
    for room in ("data", "model", "pipeline"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
                    texts.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(re.sub(r"%(\.\d)?[sdf]", "…", node.value))
    return "\n".join(texts)


def test_every_message_on_the_page_occurs_in_the_code() -> None:
    """A message that the program no longer gives is looked for in vain."""
    rows = re.findall(r"^\| (.+?) \| .+ \| .+ \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    messages = [row.strip("`") for row in rows if row != "message"]
    assert len(messages) >= 15
    said = literals()
    assert [message for message in messages if message not in said] == []
