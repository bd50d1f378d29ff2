"use strict";
// Which two videos to compare next. Pure functions: the same answers give the same next pair, so a
// page that is opened again goes on where it stopped. Videos are numbers 0 to n - 1.
//
// An answer is {better, worse, tie}; a skipped pair is {better, worse, skip: true} and says nothing.
var Schedule = (function () {
  // Deviation of strengths before any answer; of two random videos, the better one then wins with
  // a probability of .80 on average. Simulated judges chose it, see tests/judge/test_schedule.py.
  var DEVIATION = 2;
  // A repeat shows a pair that was judged at least this many answers ago.
  var REPEAT_AFTER = 6;

  // Numbers in [0, 1) from a text: FNV-1a of the text, then mulberry32.
  function random(text) {
    var state = 2166136261;
    for (var i = 0; i < text.length; i += 1) {
      state = Math.imul(state ^ text.charCodeAt(i), 16777619);
    }
    return function () {
      state = (state + 0x6d2b79f5) | 0;
      var mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
    };
  }

  function sigmoid(x) {
    return 1 / (1 + Math.exp(-x));
  }

  // Inverse of a symmetric positive definite matrix (n rows of Float64Array), by Gauss-Jordan.
  function inverse(matrix) {
    var n = matrix.length;
    var left = matrix.map(function (row) { return Float64Array.from(row); });
    for (var pivot = 0; pivot < n; pivot += 1) {
      var row = left[pivot];
      var scale = 1 / row[pivot];
      row[pivot] = 1;
      for (var k = 0; k < n; k += 1) { row[k] *= scale; }
      for (var i = 0; i < n; i += 1) {
        if (i === pivot) { continue; }
        var other = left[i];
        var factor = other[pivot];
        if (factor === 0) { continue; }
        other[pivot] = 0;
        for (k = 0; k < n; k += 1) { other[k] -= factor * row[k]; }
      }
    }
    return left;
  }

  // The step x of Newton's method, matrix x = vector, by Cholesky: a sixth of an inverse's work.
  function solve(matrix, vector) {
    var n = matrix.length;
    var root = matrix.map(function (row) { return Float64Array.from(row); });
    var x = Float64Array.from(vector);
    for (var i = 0; i < n; i += 1) {
      for (var j = 0; j <= i; j += 1) {
        var sum = root[i][j];
        for (var k = 0; k < j; k += 1) { sum -= root[i][k] * root[j][k]; }
        root[i][j] = i === j ? Math.sqrt(sum) : sum / root[j][j];
      }
    }
    for (i = 0; i < n; i += 1) {
      for (k = 0; k < i; k += 1) { x[i] -= root[i][k] * x[k]; }
      x[i] /= root[i][i];
    }
    for (i = n - 1; i >= 0; i -= 1) {
      for (k = i + 1; k < n; k += 1) { x[i] -= root[k][i] * x[k]; }
      x[i] /= root[i][i];
    }
    return x;
  }

  // Gradient and curvature of the log probability of answers and strengths; a tie is half an
  // answer each way.
  function slopes(answers, strength) {
    var n = strength.length;
    var precision = 1 / (DEVIATION * DEVIATION);
    var gradient = strength.map(function (value) { return -precision * value; });
    var hessian = [];
    for (var i = 0; i < n; i += 1) {
      hessian.push(new Float64Array(n));
      hessian[i][i] = precision;
    }
    answers.forEach(function (answer) {
      var a = answer.better;
      var b = answer.worse;
      var p = sigmoid(strength[a] - strength[b]);
      var change = (answer.tie ? 0.5 : 1) - p;
      var weight = p * (1 - p);
      gradient[a] += change;
      gradient[b] -= change;
      hessian[a][a] += weight;
      hessian[b][b] += weight;
      hessian[a][b] -= weight;
      hessian[b][a] -= weight;
    });
    return { gradient: gradient, hessian: hessian };
  }

  // Bradley-Terry strengths, most probable under the normal prior, and their covariance (Laplace).
  function fit(n, history) {
    var answers = told(history);
    var strength = new Float64Array(n);
    for (var step = 0; step < 50; step += 1) {
      var now = slopes(answers, strength);
      var move = solve(now.hessian, now.gradient);
      var largest = move.reduce(function (most, each) { return Math.max(most, Math.abs(each)); }, 0);
      // A step is at most 1: from afar, Newton's steps on a logistic curve go too far.
      for (var i = 0; i < n; i += 1) { strength[i] += move[i] / Math.max(1, largest); }
      if (largest < 1e-6) { break; }
    }
    return { strength: strength, covariance: inverse(slopes(answers, strength).hessian) };
  }

  function told(history) {
    return history.filter(function (answer) { return !answer.skip; });
  }

  function pairId(a, b) {
    return Math.min(a, b) + "-" + Math.max(a, b);
  }

  // How often each pair was judged or skipped.
  function counts(answers) {
    var number = {};
    answers.forEach(function (answer) {
      var id = pairId(answer.better, answer.worse);
      number[id] = (number[id] || 0) + 1;
    });
    return number;
  }

  function shuffled(n, draw) {
    var order = [];
    for (var i = 0; i < n; i += 1) { order.push(i); }
    for (i = n - 1; i > 0; i -= 1) {
      var other = Math.floor(draw() * (i + 1));
      var kept = order[i];
      order[i] = order[other];
      order[other] = kept;
    }
    return order;
  }

  // The first round: every video once, in pairs that are the same for all judges.
  function firstRound(set) {
    var order = shuffled(set.n, random(set.seed + "|first"));
    var pairs = [];
    for (var i = 0; i + 1 < order.length; i += 2) { pairs.push([order[i], order[i + 1]]); }
    return pairs;
  }

  // A pair to show again, or null: judged once, long enough ago, never skipped.
  function repeated(history, draw) {
    var number = counts(history);
    var old = told(history).slice(0, -REPEAT_AFTER).filter(function (answer) {
      return number[pairId(answer.better, answer.worse)] === 1;
    });
    if (!old.length) { return null; }
    var answer = old[Math.floor(draw() * old.length)];
    return [answer.better, answer.worse];
  }

  // The pair whose answer tells most: the chance that the less likely answer comes, times the
  // variance of the difference that it would correct.
  function telling(n, history, draw) {
    var seen = counts(history);
    var now = fit(n, history);
    var best = -1;
    var pair = null;
    for (var i = 0; i < n; i += 1) {
      for (var j = i + 1; j < n; j += 1) {
        if (seen[i + "-" + j]) { continue; }
        var p = sigmoid(now.strength[i] - now.strength[j]);
        var variance = now.covariance[i][i] + now.covariance[j][j] - 2 * now.covariance[i][j];
        var worth = Math.min(p, 1 - p) * variance * (1 + 0.001 * draw());
        if (worth > best) {
          best = worth;
          pair = [i, j];
        }
      }
    }
    return pair;
  }

  // The next comparison {left, right, repeat}; null where no pair is left.
  //
  // set: {n, seed, judge, repeatEvery, plan}; with a plan, its pairs [[i, j], ...] come in order.
  function next(set, history) {
    var draw = random([set.seed, set.judge, history.length].join("|"));
    var seen = counts(history);
    var due = set.repeatEvery && (told(history).length + 1) % set.repeatEvery === 0;
    var pair = due ? repeated(history, draw) : null;
    var repeat = Boolean(pair);
    if (!pair) {
      pair = (set.plan || firstRound(set)).filter(function (each) {
        return !seen[pairId(each[0], each[1])];
      })[0] || (set.plan ? null : telling(set.n, history, draw));
    }
    if (!pair) { return null; }
    var swap = draw() < 0.5;
    return { left: pair[swap ? 1 : 0], right: pair[swap ? 0 : 1], repeat: repeat };
  }

  return { random: random, fit: fit, next: next, told: told };
}());
