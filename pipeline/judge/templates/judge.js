// The page: one pair after another, answers by buttons and keys, export and import.
(function () {
  var data = JSON.parse(document.getElementById("data").textContent);
  var GUARD_MS = 300;
  var store = makeStore(data.id, data.videos.length);
  var shown = null;
  var began = 0;
  var hiddenSince = 0;
  var more = false;
  var exported = 0;

  function element(id) { return document.getElementById(id); }
  function say(text) { element("status").textContent = text; }
  var player = makePlayer([element("video-a"), element("video-b")], drawPlayer);

  function clock(seconds) {
    var whole = Math.floor(seconds);
    return Math.floor(whole / 60) + ":" + ("0" + (whole % 60)).slice(-2) +
      "." + Math.floor((seconds - whole) * 10);
  }
  function duration(seconds) {
    var minutes = Math.max(1, Math.round(seconds / 60));
    return minutes < 60 ? minutes + " min" : Math.floor(minutes / 60) + " h " + minutes % 60 + " min";
  }
  function count(number, noun) { return number + " " + noun + (number === 1 ? "" : "s"); }

  function drawPlayer() {
    var state = player.state();
    element("play").textContent = state.playing ? "Pause" : "Play";
    element("rate").textContent = state.rate + "×";
    element("loop").setAttribute("aria-pressed", String(state.loop));
    element("clock").textContent = clock(state.now) + " / " + clock(state.length);
    element("seek").max = String(state.length || 1);
    element("seek").value = String(state.now);
    element("seek").setAttribute("aria-valuetext", clock(state.now));
    element("trouble").textContent = state.failed;
  }

  function median(values) {
    var sorted = values.slice().sort(function (a, b) { return a - b; });
    return sorted[Math.floor(sorted.length / 2)];
  }
  // Seconds that one comparison takes: the judge's own median after five of them.
  function pace(answers) {
    var taken = answers.map(function (each) { return each.seconds; }).filter(function (seconds) {
      return seconds > 0;
    });
    return taken.length < 5 ? data.pace : median(taken);
  }
  function drawProgress() {
    var done = Schedule.told(store.answers());
    var left = Math.max(0, data.comparisons - done.length);
    element("bar").max = data.comparisons;
    element("bar").value = Math.min(done.length, data.comparisons);
    element("progress-text").textContent = left
      ? done.length + " of about " + data.comparisons + " done, about " +
        duration(left * pace(done)) + " left"
      : count(done.length, "comparison") + " done";
    element("unsaved").textContent = store.kept()
      ? (done.length > exported ? "kept in this browser; export at the end" : "")
      : "This browser keeps nothing: export before you close the page.";
    element("undo").disabled = !store.answers().length;
    element("export").disabled = !done.length;
    return left;
  }

  function show(screen) {
    ["start", "compare", "done"].forEach(function (id) { element(id).hidden = id !== screen; });
    document.body.dataset.screen = screen;
    // What is hidden must not take the keys.
    if (document.activeElement.closest("[hidden]")) { document.activeElement.blur(); }
  }
  function settings() {
    return {
      n: data.videos.length, seed: data.seed, judge: store.judge(),
      repeatEvery: data.repeatEvery, plan: data.plan
    };
  }
  function advance() {
    var left = drawProgress();
    shown = left || more ? Schedule.next(settings(), store.answers()) : null;
    if (!shown) {
      player.pause();
      finish();
      return;
    }
    show("compare");
    var pair = [data.videos[shown.left], data.videos[shown.right]];
    player.load(pair);
    if (data.showNames) {
      element("name-a").textContent = pair[0].name;
      element("name-b").textContent = pair[1].name;
    }
    began = performance.now();
  }
  function finish() {
    show("done");
    var left = Schedule.next(settings(), store.answers());
    element("done-text").textContent = left
      ? "These comparisons are enough for an order. Export them now, or go on: more make it surer."
      : "Every pair has been compared. Export the answers now.";
    element("more").hidden = !left;
    element("done-export").focus();
  }

  function answer(kind) {
    if (!shown || element("compare").hidden || performance.now() - began < GUARD_MS) { return; }
    var rightBetter = kind === "right";
    var entry = {
      better: rightBetter ? shown.right : shown.left,
      worse: rightBetter ? shown.left : shown.right,
      time: new Date().toISOString(),
      seconds: Math.round((performance.now() - began) / 100) / 10
    };
    if (kind === "equal") { entry.tie = true; }
    if (kind === "skip") { entry.skip = true; }
    store.add(entry);
    say({ left: "A is better", right: "B is better", equal: "Equal", skip: "Skipped" }[kind]);
    advance();
  }
  function undo() {
    if (element("start").hidden && store.undo()) {
      say("The last answer is taken back.");
      advance();
    }
  }

  function rows() {
    return Schedule.told(store.answers()).map(function (each) {
      return {
        better: data.videos[each.better].name, worse: data.videos[each.worse].name,
        judge: store.judge(), time: each.time, seconds: each.seconds, tie: each.tie ? "yes" : "no"
      };
    });
  }
  function download() {
    var list = rows();
    if (!list.length) { return; }
    var link = document.createElement("a");
    var address = URL.createObjectURL(new Blob([Table.write(list)], { type: "text/csv" }));
    link.href = address;
    link.download = "pairs_" + (store.judge().replace(/[^\w.-]+/g, "_") || "judge") + ".csv";
    document.body.appendChild(link);
    link.click();
    link.remove();
    setTimeout(function () { URL.revokeObjectURL(address); }, 1000);
    exported = list.length;
    drawProgress();
    say(count(list.length, "answer") + " exported to " + link.download + ".");
  }

  function numbered(row, numbers) {
    return {
      better: numbers.get(row.better.normalize("NFC")), worse: numbers.get(row.worse.normalize("NFC")),
      time: row.time, seconds: Number(row.seconds) || 0,
      tie: /^(yes|true|tie|1)$/i.test(row.tie) || undefined
    };
  }
  function load(text, name) {
    var list = Table.read(text);
    if (!list) {
      say(name + ": no answers in it; expected the columns better,worse.");
      return;
    }
    var numbers = new Map(data.videos.map(function (video, i) {
      return [video.name.normalize("NFC"), i];
    }));
    var judges = new Map();
    var unknown = 0;
    list.forEach(function (row) {
      var entry = numbered(row, numbers);
      if (entry.better === undefined || entry.worse === undefined) { unknown += 1; return; }
      var judge = row.judge || store.judge() || "judge";
      judges.set(judge, (judges.get(judge) || []).concat([entry]));
    });
    var added = [];
    judges.forEach(function (entries, judge) {
      added.push(count(store.merge(judge, entries), "answer") + " of " + judge);
    });
    if (judges.size === 1 && !store.answers().length) { begin(judges.keys().next().value); }
    say("Added from " + name + ": " + (added.join(", ") || "nothing") +
      (unknown ? "; " + count(unknown, "row") + " name other videos" : "") + ".");
    if (element("start").hidden) { advance(); }
  }
  function choose(event) {
    Array.prototype.forEach.call(event.target.files, function (file) {
      file.text().then(function (text) { load(text, file.name); });
    });
    event.target.value = "";
  }

  function begin(name) {
    store.setJudge(name);
    element("judge-name").textContent = name;
    more = false;
    exported = 0;
    say("");
    advance();
  }
  function fullScreen() {
    if (document.fullscreenElement) {
      document.exitFullscreen();
    } else if (document.documentElement.requestFullscreen) {
      document.documentElement.requestFullscreen().catch(function () {});
    }
  }

  var ACTIONS = {
    "left": function () { answer("left"); }, "right": function () { answer("right"); },
    "equal": function () { answer("equal"); }, "skip": function () { answer("skip"); },
    "undo": undo, "done-undo": undo, "play": player.toggle, "restart": player.restart,
    "back": function () { player.step(-1); }, "forward": function () { player.step(1); },
    "slower": function () { player.speed(-1); }, "faster": function () { player.speed(1); },
    "loop": function () { player.setLoop(!player.state().loop); },
    "full": fullScreen, "export": download, "done-export": download,
    "help": function () { element("help-box").showModal(); },
    "help-close": function () { element("help-box").close(); },
    "import": function () { element("file").click(); },
    "start-import": function () { element("file").click(); },
    "more": function () { more = true; advance(); },
    "change": function () {
      player.pause();
      show("start");
      element("judge").value = "";
      element("judge").focus();
    }
  };
  var KEYS = {
    "ArrowLeft": "left", "ArrowRight": "right", "ArrowDown": "equal", "=": "equal", "s": "skip",
    "u": "undo", "Backspace": "undo", " ": "play", "r": "restart", ",": "back", ".": "forward",
    "-": "slower", "+": "faster", "l": "loop", "f": "full", "e": "export", "?": "help"
  };

  Object.keys(ACTIONS).forEach(function (id) {
    element(id).addEventListener("click", function (event) {
      ACTIONS[id](event);
      // After a click by mouse or finger, the space bar plays; it does not answer again.
      if (event.detail) { element(id).blur(); }
    });
  });
  document.addEventListener("keydown", function (event) {
    var typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    var button = event.target.tagName === "BUTTON" && (event.key === " " || event.key === "Enter");
    var action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || typing || button || event.ctrlKey || event.altKey || event.metaKey ||
        element("help-box").open || !element("start").hidden) {
      return;
    }
    event.preventDefault();
    if (event.repeat && !/^(back|forward)$/.test(action)) { return; }
    ACTIONS[action](event);
  });
  element("seek").addEventListener("input", function () { player.seek(Number(element("seek").value)); });
  element("seek").addEventListener("change", function () { element("seek").blur(); });
  element("file").addEventListener("change", choose);
  element("name-form").addEventListener("submit", function (event) {
    event.preventDefault();
    var name = element("judge").value.trim();
    if (name) { begin(name); }
  });
  // Time away from the page is not time taken.
  document.addEventListener("visibilitychange", function () {
    if (document.hidden) {
      hiddenSince = performance.now();
    } else if (hiddenSince) {
      began += performance.now() - hiddenSince;
      hiddenSince = 0;
    }
  });

  element("full").hidden = !document.documentElement.requestFullscreen;
  element("start-text").textContent = data.videos.length + " videos, about " +
    count(data.comparisons, "comparison") + ": some " + duration(data.comparisons * data.pace) +
    ". Stop whenever you like: every answer is kept in this browser.";
  if (store.judge()) { element("judge").value = store.judge(); }
  show("start");
  element("judge").focus();
}());
