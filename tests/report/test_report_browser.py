"""The page about a run in a browser: its table sorts and filters."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.helpers.report_html import BROWSER, in_browser
from tests.report.material import NAMES

PROBE = """
var failed = [];
window.onerror = function (message) { failed.push(String(message)); };
document.addEventListener("securitypolicyviolation", function (event) {
  failed.push(event.violatedDirective);
});
function order() {
  return Array.prototype.slice.call(document.querySelectorAll("#ranking-table tbody tr"))
    .filter(function (row) { return !row.hidden; })
    .map(function (row) { return row.cells[0].dataset.value; }).join(" ");
}
window.addEventListener("load", function () {
  var told = {};
  var score = document.querySelectorAll("#ranking-table thead button")[2];
  told.first = order();
  score.click();
  told.up = order();
  told.sorted = score.parentNode.getAttribute("aria-sort");
  score.click();
  told.down = order();
  var find = document.getElementById("filter-name");
  find.value = "PLAIN";
  find.dispatchEvent(new Event("input"));
  told.found = order();
  told.count = document.getElementById("filter-count").textContent;
  find.value = "";
  var use = document.getElementById("filter-use");
  use.value = "unseen";
  use.dispatchEvent(new Event("change"));
  told.unseen = order().split(" ").length;
  told.wide = document.documentElement.scrollWidth <= document.documentElement.clientWidth;
  told.pictures = Array.prototype.slice.call(document.images).every(function (image) {
    return image.naturalWidth > 0;
  });
  told.failed = failed;
  var out = document.createElement("pre");
  out.id = "told";
  out.textContent = "TOLD" + JSON.stringify(told) + "END";
  document.body.appendChild(out);
});
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_sorting_and_filtering_work_in_a_browser(full_page: Path, tmp_path: Path) -> None:
    """Fails if the script is blocked, throws or sorts wrongly where a user opens the page."""
    dom, console = in_browser(full_page, PROBE, tmp_path)
    assert console == ""
    told = json.loads(re.search(r"TOLD(.*)END</pre>", dom)[1].replace("&amp;", "&"))  # type: ignore[index]
    count = len(NAMES)
    best_first = " ".join(str(rank + 1) for rank in range(count))
    assert told["first"] == best_first
    assert told["up"] == " ".join(reversed(best_first.split()))
    assert told["sorted"] == "ascending"
    assert told["down"] == best_first
    assert len(told["found"].split()) == 2
    assert told["count"] == f"2 of {count} videos"
    assert told["unseen"] == 3
    assert told["wide"]
    assert told["pictures"]
    assert told["failed"] == []
