"use strict";
(function () {
  var table = document.getElementById("ranking-table");
  var body = table.tBodies[0];
  var rows = Array.prototype.slice.call(body.rows);
  var headers = Array.prototype.slice.call(table.tHead.rows[0].cells);
  var collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

  function value(row, column) {
    return row.cells[column].dataset.value;
  }

  function sortBy(column, descending) {
    var numbers = headers[column].dataset.sort === "number";
    // Sort from the original order: equal values stay in order of rank.
    var sorted = rows.slice().sort(function (a, b) {
      var x = value(a, column);
      var y = value(b, column);
      var order = numbers ? Number(x) - Number(y) : collator.compare(x, y);
      return descending ? -order : order;
    });
    headers.forEach(function (header, other) {
      if (other === column) {
        header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      } else {
        header.removeAttribute("aria-sort");
      }
    });
    sorted.forEach(function (row) {
      body.appendChild(row);
    });
  }

  headers.forEach(function (header, column) {
    var button = document.createElement("button");
    button.type = "button";
    while (header.firstChild) {
      button.appendChild(header.firstChild);
    }
    header.appendChild(button);
    button.addEventListener("click", function () {
      sortBy(column, header.getAttribute("aria-sort") === "ascending");
    });
  });

  var form = document.getElementById("filter");
  var name = document.getElementById("filter-name");
  var use = document.getElementById("filter-use");
  var count = document.getElementById("filter-count");

  function filter() {
    var text = name.value.trim().toLowerCase();
    var shown = 0;
    rows.forEach(function (row) {
      var fits = value(row, 1).toLowerCase().indexOf(text) >= 0 &&
        (!use.value || row.dataset.use === use.value);
      row.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    count.textContent = shown === rows.length ? "" : shown + " of " + rows.length + " videos";
  }

  name.addEventListener("input", filter);
  use.addEventListener("change", filter);
  form.addEventListener("submit", function (event) {
    event.preventDefault();
  });
  form.hidden = false;

  var closed = [];
  window.addEventListener("beforeprint", function () {
    closed = Array.prototype.slice.call(document.querySelectorAll("details:not([open])"));
    closed.forEach(function (each) { each.open = true; });
  });
  window.addEventListener("afterprint", function () {
    closed.forEach(function (each) { each.open = false; });
  });
}());
