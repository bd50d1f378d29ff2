// pairs.csv: the answers of judges as rows of text, written and read as the program does.
var Table = (function () {
  var COLUMNS = ["better", "worse", "judge", "time", "seconds", "tie"];
  var FORMULA = /^[=+\-@\t\r]/;

  // A spreadsheet takes such a cell for a formula: an apostrophe makes it text.
  function cell(value) {
    var text = String(value);
    if (FORMULA.test(text) && (text.trim() === "" || !isFinite(Number(text)))) {
      text = "'" + text;
    }
    return /[",\n\r]/.test(text) || text !== text.trim() ? '"' + text.replace(/"/g, '""') + '"' : text;
  }

  function plain(text) {
    var trimmed = text.trim();
    return trimmed[0] === "'" && FORMULA.test(trimmed.slice(1)) ? trimmed.slice(1) : trimmed;
  }

  // rows: objects with the fields of COLUMNS.
  function write(rows) {
    var lines = rows.map(function (row) {
      return COLUMNS.map(function (name) { return cell(row[name]); }).join(",");
    });
    return [COLUMNS.join(",")].concat(lines).join("\n") + "\n";
  }

  // Cells of a delimited text, row by row.
  function split(text, delimiter) {
    var rows = [[]];
    var pattern = new RegExp('("(?:[^"]|"")*"|[^"\\r\\n' + delimiter + ']*)(\\r\\n|\\n|\\r|' +
      delimiter + "|$)", "g");
    var match;
    while ((match = pattern.exec(text)) !== null) {
      var value = match[1];
      if (value[0] === '"') { value = value.slice(1, -1).replace(/""/g, '"'); }
      rows[rows.length - 1].push(plain(value));
      if (match[2] === "") { break; }
      if (match[2] !== delimiter) { rows.push([]); }
    }
    return rows.filter(function (row) { return row.some(Boolean); });
  }

  // Rows of a table as objects by its header; null where it is no table of comparisons.
  function read(text) {
    var body = text.replace(/^\ufeff/, "");
    var first = body.split(/[\r\n]/)[0];
    var delimiter = [",", ";", "\t"].sort(function (a, b) {
      return first.split(b).length - first.split(a).length;
    })[0];
    var rows = split(body, delimiter);
    var header = (rows.shift() || []).map(function (name) { return name.toLowerCase(); });
    if (header.indexOf("better") < 0 || header.indexOf("worse") < 0) { return null; }
    return rows.map(function (cells) {
      var row = {};
      COLUMNS.forEach(function (name) { row[name] = cells[header.indexOf(name)] || ""; });
      return row;
    });
  }

  return { write: write, read: read };
}());
