// Answers in the browser's own storage, kept at once: {judge, judges: [{name, answers}]}.
//
// Pages on disk may share one storage: the key names the set of videos.
function makeStore(id, count) {
  var KEY = "dexterank-judge/" + id;
  var content = { judge: "", judges: [] };
  var kept = true;

  function valid(answer) {
    return answer && [answer.better, answer.worse].every(function (video) {
      return Number.isInteger(video) && video >= 0 && video < count;
    }) && answer.better !== answer.worse;
  }
  function read() {
    try {
      var saved = JSON.parse(localStorage.getItem(KEY) || "null");
      if (saved && Array.isArray(saved.judges)) {
        content = {
          judge: String(saved.judge || ""),
          judges: saved.judges.map(function (each) {
            return { name: String(each.name), answers: (each.answers || []).filter(valid) };
          })
        };
      }
    } catch (error) {
      kept = false;
    }
  }
  function write() {
    try {
      localStorage.setItem(KEY, JSON.stringify(content));
      kept = true;
    } catch (error) {
      kept = false;
    }
  }
  function answersOf(name) {
    var found = content.judges.filter(function (each) { return each.name === name; })[0];
    if (!found) {
      found = { name: name, answers: [] };
      content.judges.push(found);
    }
    return found.answers;
  }
  function same(a, b) {
    return a.better === b.better && a.worse === b.worse && a.time === b.time &&
      Boolean(a.tie) === Boolean(b.tie);
  }
  // Add answers that are not there yet, in order of time; returns how many.
  function merge(name, answers) {
    var own = answersOf(name);
    var fresh = answers.filter(function (answer) {
      return valid(answer) && !own.some(function (other) { return same(answer, other); });
    });
    Array.prototype.push.apply(own, fresh);
    own.sort(function (a, b) { return a.time < b.time ? -1 : a.time > b.time ? 1 : 0; });
    write();
    return fresh.length;
  }

  read();
  window.addEventListener("storage", function (event) { if (event.key === KEY) { read(); } });
  return {
    judge: function () { return content.judge; },
    setJudge: function (name) { content.judge = name; write(); },
    answers: function () { return answersOf(content.judge); },
    add: function (answer) { answersOf(content.judge).push(answer); write(); },
    undo: function () { var last = answersOf(content.judge).pop(); write(); return last; },
    merge: merge,
    kept: function () { return kept; }
  };
}
