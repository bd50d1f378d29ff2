// Two videos in step: played, paused, sought and slowed together.
//
// The shorter one waits on its last frame until the longer one has ended.
function makePlayer(videos, changed) {
  var RATES = [0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 4];
  var APART = 0.12;
  var rate = 1;
  var loop = true;
  var playing = false;
  var frames = [25, 25];
  var failed = "";

  function length(video) { return isFinite(video.duration) ? video.duration : 0; }
  function longest() { return Math.max(length(videos[0]), length(videos[1])); }
  function now() { return Math.max(videos[0].currentTime, videos[1].currentTime); }

  function start(video) {
    if (video.ended) { return; }
    var promise = video.play();
    // A new pair interrupts it; a page that may not play yet waits for the button.
    if (promise) { promise.catch(function (error) { if (error.name === "NotAllowedError") { pause(); } }); }
  }
  function play() {
    if (videos[0].ended && videos[1].ended) { seek(0); }
    playing = true;
    videos.forEach(start);
    changed();
  }
  function pause() {
    playing = false;
    videos.forEach(function (video) { video.pause(); });
    changed();
  }
  function seek(second) {
    videos.forEach(function (video) {
      video.currentTime = Math.max(0, Math.min(second, length(video)));
      if (playing) { start(video); }
    });
    changed();
  }
  function restart() {
    seek(0);
    play();
  }
  function step(count) {
    pause();
    videos.forEach(function (video, side) {
      // The middle of a frame: its edges are rounded by browsers.
      var frame = Math.floor(video.currentTime * frames[side] + 0.01) + count;
      var last = Math.max(0, Math.ceil(length(video) * frames[side]) - 1);
      video.currentTime = (Math.max(0, Math.min(frame, last)) + 0.5) / frames[side];
    });
    changed();
  }
  function speed(count) {
    var place = Math.max(0, Math.min(RATES.indexOf(rate) + count, RATES.length - 1));
    rate = RATES[place];
    videos.forEach(function (video) { video.playbackRate = rate; });
    changed();
  }
  function setLoop(value) {
    loop = value;
    changed();
  }
  function load(pair) {
    failed = "";
    videos.forEach(function (video, side) {
      frames[side] = pair[side].fps || 25;
      video.src = pair[side].src;
      video.defaultPlaybackRate = rate;
      video.playbackRate = rate;
    });
    playing = true;
    videos.forEach(start);
    changed();
  }
  function ended() {
    if (!videos[0].ended || !videos[1].ended) { return; }
    if (loop && playing) { restart(); } else { pause(); }
  }
  function inStep() {
    var a = videos[0];
    var b = videos[1];
    if (playing && !a.ended && !b.ended && !a.seeking && !b.seeking &&
        Math.abs(a.currentTime - b.currentTime) > APART * Math.max(1, rate)) {
      var behind = Math.min(a.currentTime, b.currentTime);
      (a.currentTime > b.currentTime ? a : b).currentTime = behind;
    }
    changed();
  }

  videos.forEach(function (video, side) {
    video.muted = true;
    video.addEventListener("ended", ended);
    video.addEventListener("timeupdate", inStep);
    video.addEventListener("loadedmetadata", changed);
    video.addEventListener("error", function () {
      if (!video.error) { return; }
      failed = "Video " + "AB"[side] + " cannot be played here. " +
        "Make the page again with copies (without --no-copies), or skip the pair.";
      changed();
    });
  });

  return {
    load: load, play: play, pause: pause, seek: seek, restart: restart, step: step, speed: speed,
    setLoop: setLoop,
    toggle: function () { if (playing) { pause(); } else { play(); } },
    state: function () {
      return { playing: playing, rate: rate, loop: loop, now: now(), length: longest(), failed: failed };
    }
  };
}
