// Elements are made here; whatever the server says goes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

export function html(name, { text, className, data, label } = {}, ...children) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  if (label) { element.setAttribute("role", "img"); element.setAttribute("aria-label", label); }
  for (const [key, value] of Object.entries(data ?? {})) element.dataset[key] = value;
  element.append(...children);
  return element;
}

export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function say(id, text) {
  const element = byId(id);
  // What did not change is not said again by a screen reader.
  if (element.textContent !== text) element.textContent = text;
}
