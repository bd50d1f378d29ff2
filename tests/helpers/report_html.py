"""Reading a report as a strict parser and as a browser do."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "img", "br", "hr", "input", "link", "source", "wbr"}
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_DATA_URI = re.compile(r"data:image/(?:jpeg|png);base64,[A-Za-z0-9+/=]+")


class Page(HTMLParser):
    """Elements, text and faults of a page whose every element must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.faults: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        if self.open:
            self.faults.append(f"never closed: {self.open}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            self.faults.append(f"<{tag}> has an attribute twice")
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()} closes nothing")

    def handle_data(self, data: str) -> None:
        if "script" not in self.open and "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def outside_references(text: str) -> list[str]:
    """Return everything in a page that could make a browser ask another file or host."""
    page = Page(text)
    references = [tag for tag in ("link", "iframe", "object", "embed", "base") if page.all(tag)]
    for tag, attributes in page.elements:
        for name in ("src", "srcset", "href", "action", "data", "poster", "xlink:href"):
            value = attributes.get(name, "#")
            if not (value.startswith("#") or _DATA_URI.fullmatch(value)):
                references.append(f"<{tag} {name}={value[:60]}>")
        if attributes.get("http-equiv", "").lower() == "refresh":
            references.append("refresh")
    code = " ".join(re.findall(r"<(?:style|script)\b.*?</(?:style|script)>", text, re.DOTALL))
    code = _DATA_URI.sub("", code)
    pattern = r"url\s*\(|@import|https?:|fetch\(|XMLHttpRequest|//[a-z]"
    return references + re.findall(pattern, code)


def in_browser(page: Path, script: str, profile: Path) -> tuple[str, str]:
    """Run a script at the end of a copy of a page in a headless browser.

    The script's text is added to the copy's content security policy; all else stays as it is.

    Returns
    -------
    dom, console : str
        The document afterwards, and what the browser logged of the page's console.
    """
    text = page.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = text.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    copy = profile / "page.html"
    copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    done = subprocess.run(
        [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={profile / 'profile'}", "--enable-logging=stderr",
            "--virtual-time-budget=2000", "--dump-dom", copy.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, "\n".join(console)
