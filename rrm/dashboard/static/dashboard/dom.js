// Building the page: text only ever enters as text.

const SVG = "http://www.w3.org/2000/svg";
const COLOR = /^#[0-9a-f]{6}$/i;

export const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined).map((child) => (child instanceof Node ? child : String(child))));
  return node;
}

/** An HTML element; attributes whose value is absent are left out, `on…` ones are listeners. */
export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

/** An SVG element, made the same way. */
export const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** The colour if it is one, else a neutral grey. */
export const safeColor = (color) => (COLOR.test(color ?? "") ? color : "#808890");

/** The mark of a site: a small square in its colour. */
export function mark(color) {
  const dot = el("span", { class: "mark", "aria-hidden": "true" });
  dot.style.setProperty("--mark", safeColor(color));
  return dot;
}

/** The state in words, with a class that colours it. */
export const chip = (state) => el("span", { class: `chip ${String(state).toLowerCase()}` }, String(state).toLowerCase());

export function setText(id, text) {
  const node = byId(id);
  if (node && node.textContent !== text) node.textContent = text;
}

export function replace(parent, ...children) {
  parent.replaceChildren(...children.filter(Boolean));
}
