// Numbers and times as people read them.

export const NONE = "–";

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return `${unit && value < 100 ? value.toPrecision(3) : value.toFixed(0)} ${units[unit]}`;
}

// Energies of what sensors measure; different scopes are listed, never added up.
export function joules(sums) {
  return sums.map(({ joules: value, at_least: partial }) => `${partial ? "≥ " : ""}${joule(value)}`).join(" · ");
}

function joule(value) {
  return value < 999.5 ? `${value === 0 ? "0" : value.toPrecision(3)} J` : `${(value / 1000).toPrecision(value < 99950 ? 3 : 4)} kJ`;
}

export function percent(value) {
  return value == null ? NONE : `${(100 * value).toFixed(1)} %`;
}

export function short(value) {
  if (value == null) return NONE;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6) return `${(value / 1e6).toPrecision(3)} M`;
  if (size >= 1e4) return `${(value / 1e3).toPrecision(3)} k`;
  if (size >= 100) return value.toFixed(0);
  return value.toPrecision(3);
}

export function times(wide, sent) {
  return sent > 0 ? `${(wide / sent).toFixed(wide < 100 * sent ? 1 : 0)}×` : NONE;
}

export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const text = parts.slice(parts[0] ? 0 : 1).map((part) => String(part).padStart(2, "0"));
  return text.join(":");
}

export function milliseconds(value) {
  return value < 10 ? value.toFixed(1) : value.toFixed(0);
}

// A number of an axis: no more digits than it needs.
export function tick(value) {
  return Math.abs(value) >= 1e4 ? short(value) : String(Number(value.toPrecision(3)));
}

export function mean(values) {
  const known = values.filter((value) => value != null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}
