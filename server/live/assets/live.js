// Asks the server for the run's state about once a second, and draws it.

import { drawLines } from "./chart.js";
import { byId, say } from "./dom.js";
import { drawBytes, drawDevices, drawEnergy, drawNotices, drawPhases, drawRounds } from "./parts.js";
import { clock, mean, percent, short, tick, times } from "./words.js";

const STATES = { waiting: "waiting for devices", training: "training", ended: "finished", failed: "failed", gone: "the server has gone" };
const LONGEST_MS = 10000;
let last = null, failures = 0, timer = 0;

async function poll() {
  clearTimeout(timer);
  let pause = 1000;
  try {
    const answer = await fetch("state.json", { cache: "no-store", signal: AbortSignal.timeout(LONGEST_MS) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    last = await answer.json();
    failures = 0;
    pause = document.hidden ? 5 * last.poll_ms : last.poll_ms;
    draw(last);
  } catch {
    failures += 1;
    pause = Math.min(1000 * failures, LONGEST_MS);
    if (failures > 1) showState("gone", told(last));
  }
  timer = setTimeout(poll, pause);
}

function draw(state) {
  const { facts } = state;
  byId("page").setAttribute("aria-busy", "false");
  const name = facts.model ? `${facts.model}, cut behind ${facts.cut}` : "slfac";
  say("title", name);
  document.title = `${percent(state.by_round.accuracy.at(-1))} · ${name} · slfac`;
  say("lead", lead(facts));
  showState(state.state, told(state));
  drawHead(state);
  drawCurves(state);
  drawBytes(state);
  drawPhases(state);
  drawEnergy(state);
  drawDevices(state);
  drawRounds(state);
  drawNotices(state.notices);
  say("facts", footer(state));
}

function lead({ codec_up: up, codec_down: down, mode, optimizer, torch_device: where }) {
  const codec = up === down ? `codec ${up}` : `codec ${up} up, ${down} down`;
  return [up && codec, mode, optimizer, where && `back half on ${where}`].filter(Boolean).join(" · ");
}

// How a run ended; empty while it goes on.
function told(state) {
  return state?.state === "failed" ? `failed: ${state.ended}` : state?.ended ?? "";
}

function showState(state, note) {
  const parts = state === "gone" ? [note, STATES.gone] : [note || STATES[state]];
  byId("state").dataset.state = state;
  say("state", parts.filter(Boolean).join("; "));
}

function drawHead(state) {
  const { facts, rounds, by_round: curve } = state, all = facts.rounds ?? rounds;
  byId("progress").max = Math.max(all, 1);
  byId("progress").value = rounds;
  say("rounds", `${rounds} of ${all} rounds`);
  const left = state.left_s == null ? "" : `, about ${clock(state.left_s)} left`;
  say("clock", `${clock(state.seconds)} gone${left}`);
  const scores = curve.accuracy.filter((value) => value != null);
  say("accuracy", percent(scores.at(-1)));
  say("accuracy-note", scores.length ? `best ${percent(Math.max(...scores))}` : facts.test_samples ? "after the first round" : "no test data");
  say("loss", short(mean(state.by_step.loss.slice(-20)) ?? curve.train_loss.at(-1)));
  say("loss-note", curve.loss.at(-1) == null ? "" : `test ${short(curve.loss.at(-1))}`);
  say("speed", short(state.samples_per_s));
  const sent = state.bytes_up + state.bytes_down, wide = state.float32_bytes_up + state.float32_bytes_down;
  say("ratio", times(wide, sent));
  say("ratio-note", state.steps ? "both ways" : "");
  say("speed-note", state.ended ? "samples a second, in the mean" : "samples a second");
  const wanted = state.ended ? "finished" : "training";
  const here = state.devices.filter((device) => device.state === wanted && (state.ended || device.connected !== false));
  say("count", `${here.length} of ${state.devices.length + state.more_devices}`);
  say("count-note", wanted);
}

function drawCurves(state) {
  const rounds = state.by_round, steps = state.by_step, time = state.by_time;
  const balanced = rounds.balanced_accuracy.some((value, index) => value != null && Math.abs(value - rounds.accuracy[index]) > 5e-4);
  drawLines(byId("chart-accuracy"), byId("read-accuracy"), {
    series: [
      { name: "accuracy", className: "s0", x: rounds.round, y: rounds.accuracy, dots: true, area: true },
      ...(balanced ? [{ name: "balanced accuracy", className: "s3", x: rounds.round, y: rounds.balanced_accuracy, dots: true }] : []),
    ],
    formatX: (x) => String(Math.round(x)), formatY: (y) => `${tick(100 * y)} %`, wholeX: true, what: "Accuracy by round", note: "by round",
    empty: state.facts.test_samples ? "after the first round" : "without test data, nothing is evaluated",
  });
  drawLines(byId("chart-loss"), byId("read-loss"), {
    series: [
      { name: "each step", className: "s1", x: steps.step, y: steps.loss, thin: true },
      { name: "training, by round", className: "s1", x: rounds.step, y: rounds.train_loss, dots: true },
      { name: "test", className: "s0", x: rounds.step, y: rounds.loss, dots: true },
    ],
    formatX: tick, formatY: tick, fromZero: true, what: "Loss by step", note: "by step of all devices", empty: "before the first step",
  });
  drawLines(byId("chart-speed"), byId("read-speed"), {
    series: [{ name: "samples a second", className: "s2", x: time.second, y: time.samples_per_s, area: true }],
    formatX: clock, formatY: tick, fromZero: true, what: "Samples a second by time", note: "by time", empty: "in the first seconds of training",
  });
}

function footer({ facts, refused_keys: keys, refused }) {
  const parts = [
    facts.run && `run ${facts.run}`, facts.partition && `partition ${facts.partition}`,
    facts.batch_size && `batch ${facts.batch_size}`, facts.seed != null && `seed ${facts.seed}`,
    facts.schedule && `schedule ${facts.schedule}`, facts.slfac && `slfac ${facts.slfac}`, facts.torch && `torch ${facts.torch}`,
  ];
  if (keys) parts.push(`${keys} connections refused for their key`);
  const causes = Object.entries(refused || {}).map(([cause, count]) => `${count} ${cause}`);
  if (causes.length) parts.push(`messages refused: ${causes.join(", ")}`);
  return parts.filter(Boolean).join(" · ");
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
addEventListener("resize", () => { if (last) drawCurves(last); });
poll();
