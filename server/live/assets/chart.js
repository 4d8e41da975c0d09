// A chart of lines, as SVG.

import { html, svg } from "./dom.js";

const LEFT = 44, RIGHT = 12, TOP = 22, BOTTOM = 24;

// series: [{name, className, x, y, dots, thin, area}], with null where nothing is known.
export function drawLines(host, readout, { series, formatX, formatY, wholeX, fromZero, empty, what, note }) {
  const lines = series.map(known).filter((line) => line.points.length);
  if (!lines.length) {
    host.replaceChildren(html("p", { className: "empty", text: empty }));
    return;
  }
  const width = Math.max(host.clientWidth, 220), height = Math.max(host.clientHeight, 120);
  const all = lines.flatMap((line) => line.points);
  const xs = range(all.map((point) => point[0]), wholeX ? 1 : 0);
  const ys = nice(range(all.map((point) => point[1]), 0), fromZero);
  const toX = (x) => LEFT + ((x - xs[0]) / (xs[1] - xs[0])) * (width - LEFT - RIGHT);
  const toY = (y) => height - BOTTOM - ((y - ys[0]) / (ys[1] - ys[0])) * (height - TOP - BOTTOM);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  drawing.setAttribute("aria-label", `${what}: ${summary(lines, formatX, formatY)}`);
  drawing.append(...grid(ys, toY, width, formatY), ...labels(xs, toX, height, formatX, wholeX));
  for (const line of lines) drawing.append(...strokes(line, toX, toY, height - BOTTOM));
  drawing.append(...keys(lines));
  follow(drawing, readout, lines, { toX, height, width, formatX, formatY, note });
  host.replaceChildren(drawing);
}

function known(line) {
  const points = line.x.map((x, index) => [x, line.y[index]]);
  return { ...line, points: points.filter(([x, y]) => x != null && y != null) };
}

function range(values, least) {
  const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
  return high - low > least ? [low, high] : [low - (least || Math.abs(low) * 0.05 || 0.5), high + (least || Math.abs(high) * 0.05 || 0.5)];
}

function step([low, high], wanted) {
  const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough);
}

function nice([low, high], fromZero) {
  const from = fromZero ? 0 : low, each = step([from, high], 4);
  return [Math.floor(from / each) * each, Math.ceil(high / each - 1e-9) * each, each];
}

function grid([low, high, each], toY, width, formatY) {
  const parts = [];
  for (let index = 0; low + index * each <= high + each / 1e6; index += 1) {
    const value = low + index * each, y = toY(value);
    parts.push(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }));
    const text = svg("text", { x: LEFT - 7, y: y + 4, "text-anchor": "end" });
    text.textContent = formatY(value);
    parts.push(text);
  }
  return parts;
}

function labels(xs, toX, height, formatX, wholeX) {
  let each = step(xs, 6);
  if (wholeX) each = Math.max(1, Math.round(each));
  const parts = [];
  for (let value = Math.ceil(xs[0] / each) * each; value <= xs[1] + each / 1e6; value += each) {
    const text = svg("text", { x: toX(value), y: height - 6, "text-anchor": "middle" });
    text.textContent = formatX(value);
    parts.push(text);
  }
  return parts;
}

function strokes(line, toX, toY, bottom) {
  const places = line.points.map(([x, y]) => `${toX(x).toFixed(1)} ${toY(y).toFixed(1)}`);
  const path = `M${places.join("L")}`, parts = [];
  if (line.area && places.length > 1) {
    const first = toX(line.points[0][0]), last = toX(line.points.at(-1)[0]);
    parts.push(svg("path", { class: `area ${line.className}`, d: `${path}L${last} ${bottom}L${first} ${bottom}Z` }));
  }
  parts.push(svg("path", { class: `line ${line.className}${line.thin ? " thin" : ""}`, d: path }));
  const dots = line.dots && line.points.length <= 60 ? line.points : line.points.slice(-1);
  if (!line.thin || line.points.length === 1) {
    parts.push(...dots.map(([x, y]) => svg("circle", { class: `dot ${line.className}`, cx: toX(x), cy: toY(y), r: 4 })));
  }
  return parts;
}

function keys(lines) {
  if (lines.length < 2) return [];
  let x = LEFT;
  return lines.flatMap((line) => {
    const swatch = svg("rect", { class: `swatch ${line.className}${line.thin ? " thin" : ""}`, x, y: 3, width: 10, height: 10, rx: 3 });
    const text = svg("text", { class: "key", x: x + 15, y: 12 });
    text.textContent = line.name;
    x += 30 + 6.4 * line.name.length;
    return [swatch, text];
  });
}

function summary(lines, formatX, formatY) {
  return lines.map((line) => {
    const [x, y] = line.points.at(-1);
    return `${line.name} ${formatY(y)} at ${formatX(x)}`;
  }).join(", ");
}

// Under the pointer, the values of the nearest point.
function follow(drawing, readout, lines, { toX, height, width, formatX, formatY, note }) {
  const cursor = svg("line", { class: "cursor", y1: TOP, y2: height - BOTTOM, visibility: "hidden" });
  const main = lines.find((line) => !line.thin) ?? lines[0];
  drawing.append(cursor);
  if (!readout.textContent) readout.textContent = note;
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect(), at = ((event.clientX - box.left) / box.width) * width;
    const nearest = (line) => line.points.reduce((a, b) => (Math.abs(toX(a[0]) - at) <= Math.abs(toX(b[0]) - at) ? a : b));
    const x = nearest(main)[0];
    cursor.setAttribute("x1", toX(x)); cursor.setAttribute("x2", toX(x)); cursor.setAttribute("visibility", "visible");
    readout.textContent = `${formatX(x)}: ` + lines.map((line) => `${line.name} ${formatY(nearest(line)[1])}`).join(", ");
  });
  drawing.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); readout.textContent = note; });
}
