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
  var state = {};
  var score = document.querySelectorAll("#ranking-table thead button")[2];
  state.first = order();
  score.click();
  state.up = order();
  state.sorted = score.parentNode.getAttribute("aria-sort");
  score.click();
  state.down = order();
  var find = document.getElementById("filter-name");
  find.value = "PLAIN";
  find.dispatchEvent(new Event("input"));
  state.matches = order();
  state.count = document.getElementById("filter-count").textContent;
  find.value = "";
  var use = document.getElementById("filter-use");
  use.value = "unseen";
  use.dispatchEvent(new Event("change"));
  state.unseen = order().split(" ").length;
  state.wide = document.documentElement.scrollWidth <= document.documentElement.clientWidth;
  state.pictures = Array.prototype.slice.call(document.images).every(function (image) {
    return image.naturalWidth > 0;
  });
  state.failed = failed;
  var out = document.createElement("pre");
  out.id = "state";
  out.textContent = "STATE" + JSON.stringify(state) + "END";
  document.body.appendChild(out);
});
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_sorting_and_filtering_work_in_a_browser(full_page: Path, tmp_path: Path) -> None:
    """Fails if the script is blocked, throws or sorts wrongly where a user opens the page."""
    dom, console = in_browser(full_page, PROBE, tmp_path)
    assert console == ""
    state = json.loads(re.search(r"STATE(.*)END</pre>", dom)[1].replace("&amp;", "&"))  # type: ignore[index]
    count = len(NAMES)
    best_first = " ".join(str(rank + 1) for rank in range(count))
    assert state["first"] == best_first
    assert state["up"] == " ".join(reversed(best_first.split()))
    assert state["sorted"] == "ascending"
    assert state["down"] == best_first
    assert len(state["matches"].split()) == 2
    assert state["count"] == f"2 of {count} videos"
    assert state["unseen"] == 3
    assert state["wide"]
    assert state["pictures"]
    assert state["failed"] == []
