// Bytes, phases, devices, rounds and notices.

import { byId, html, say } from "./dom.js";
import { bytes, joules, milliseconds, percent, short, times } from "./words.js";

const PHASES = [
  ["load", "load batch"], ["forward", "forward"], ["encode", "encode"], ["send", "send"],
  ["wait", "wait: network, other devices"], ["server", "wait: server computes"],
  ["decode", "decode"], ["backward", "backward"], ["update", "update"],
];

export function drawBytes(state) {
  const widest = Math.max(state.float32_bytes_up, state.float32_bytes_down, 1);
  const ways = [["Up: smashed data", "up", "s0"], ["Down: gradients", "down", "s1"]];
  byId("bytes").replaceChildren(...ways.map(([name, way, colour]) => {
    const sent = state[`bytes_${way}`], wide = state[`float32_bytes_${way}`];
    const bars = [["sent", sent, colour], ["float32", wide, ""]].map(([what, size, className]) => {
      const bar = html("i", { className });
      bar.style.width = `${(100 * size) / widest}%`;
      return html("div", { className: "bar" }, html("span", { text: what }), html("div", {}, bar), html("span", { text: bytes(size) }));
    });
    const label = `${name}: ${bytes(sent)} sent, ${bytes(wide)} as float32`;
    return html("div", { className: "way", label },
      html("span", { text: name }), html("b", { text: times(wide, sent) }), html("div", { className: "bars" }, ...bars));
  }));
}

export function drawPhases({ devices }) {
  const rows = devices.filter((device) => device.phase_ms).map((device) => ({ device, parts: split(device) }));
  const longest = Math.max(...rows.map((row) => total(row.parts)), 1e-9);
  const legend = byId("legend");
  if (!legend.children.length) {
    legend.append(...PHASES.map(([name, text]) => html("li", { className: `p-${name}`, text })));
  }
  if (!rows.length) {
    byId("phases").replaceChildren(html("p", { className: "soft", text: "after each device's first step" }));
    return;
  }
  byId("phases").replaceChildren(...rows.map(({ device, parts }) => {
    const said = PHASES.map(([name, text]) => `${text} ${milliseconds(parts[name])} ms`).join(", ");
    const stack = html("div", { className: "stack", label: `${device.name}: ${said}` });
    for (const [name, text] of PHASES) {
      const part = html("i", { className: `p-${name}` });
      part.style.flexGrow = parts[name];
      part.title = `${text}: ${milliseconds(parts[name])} ms`;
      if (parts[name] > 0) stack.append(part);
    }
    // Bars of devices compare: the slowest has the full width.
    stack.style.width = `${(100 * total(parts)) / longest}%`;
    return html("div", { className: "phase" }, html("span", { text: device.name }), html("div", {}, stack),
      html("span", { text: `${milliseconds(device.step_ms ?? total(parts))} ms` }));
  }));
}

// What of a device's waiting the server took to compute, and what is left.
function split({ phase_ms: own, server_ms: server }) {
  const computing = server ? server.decode + server.train + server.encode : 0;
  return { ...own, server: Math.min(computing, own.wait), wait: Math.max(own.wait - computing, 0) };
}

function total(parts) {
  return PHASES.reduce((sum, [name]) => sum + (parts[name] ?? 0), 0);
}

export function drawEnergy({ joules: sums, joules_unknown: unknown }) {
  byId("energy-tile").hidden = !sums.length;
  say("energy", joules(sums));
  const scopes = sums.map(({ scope }) => scope).join(" · ");
  say("energy-note", unknown ? `${scopes}; ${unknown} unknown` : scopes);
}

export function drawDevices({ devices, more_devices: more, joules: measured }) {
  // Only where devices do not wait for one another can one be behind.
  const behind = devices.some((device) => device.staleness != null);
  byId("behind").hidden = !behind;
  byId("spent").hidden = !measured.length;
  byId("devices").replaceChildren(...devices.map((device) => {
    const away = device.connected === false && (device.state === "training" || device.state === "waiting");
    const state = away ? "away" : device.state;
    const name = html("th", { text: device.name });
    name.scope = "row";
    const mark = html("span", { className: "mark", text: state, data: { state } });
    if (device.note) mark.title = device.note;
    const sent = device.bytes_up + device.bytes_down, wide = device.float32_bytes_up + device.float32_bytes_down;
    const cells = [
      device.round == null ? "–" : String(device.round + 1), String(device.steps), short(device.samples_per_s),
      short(device.loss), ...(behind ? [short(device.staleness)] : []), bytes(device.bytes_up), bytes(device.bytes_down), device.steps ? times(wide, sent) : "–",
      ...(measured.length ? [spent(device.joules)] : []),
    ];
    return html("tr", {}, name, html("td", {}, mark), ...cells.map((text) => html("td", { text })));
  }));
  byId("more").hidden = !more;
  say("more", more ? `and ${more} more` : "");
}

function spent(sums) {
  return sums.length ? sums.map((one) => `${joules([one])} ${one.scope}`).join(", ") : "unknown";
}

export function drawRounds({ by_round: rounds }) {
  const rows = rounds.round.map((round, index) => [
    String(Math.round(round)), percent(rounds.accuracy[index]), percent(rounds.balanced_accuracy[index]),
    short(rounds.loss[index]), short(rounds.train_loss[index]), percent(rounds.participation[index]),
    short(rounds.seconds[index]),
  ]);
  byId("table-rounds").replaceChildren(...rows.map((cells) => html("tr", {}, ...cells.map((text) => html("td", { className: "n", text })))));
}

export function drawNotices(notices) {
  byId("notices").replaceChildren(...notices.map(([time, text]) => {
    const when = html("time", { text: new Date(time).toLocaleTimeString() });
    when.dateTime = time;
    return html("li", {}, when, html("span", { text }));
  }));
}
