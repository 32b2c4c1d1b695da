// How a view is drawn: formula, iteration limit and colours; and views with it in addresses.

import { decimal } from "../decimal.js";
import { texts, view } from "./view.js";

export const FORMULAS = [
  ["mandelbrot", "Mandelbrot, z² + c"],
  ["multibrot3", "Multibrot, z³ + c"],
  ["multibrot4", "Multibrot, z⁴ + c"],
  ["multibrot5", "Multibrot, z⁵ + c"],
  ["burning-ship", "Burning Ship"],
  ["tricorn", "Tricorn"],
];
export const METHODS = [["smooth", "Smooth"], ["bands", "Bands"], ["distance", "Distance"], ["normal", "Relief"]];
export const MOST_ITERATIONS = 10_000_000;

/** `limit` null leaves it to the node, `julia` is [x, y] as texts or null. */
export const PLAIN = Object.freeze({ formula: "mandelbrot", julia: null, limit: null, palette: "electric", method: "smooth", offset: 0, scale: 4, interior: "#000000" });

/** Whether beyond double precision it can be drawn at all. */
export const reachesDeep = ({ formula, julia, method }) => formula === "mandelbrot" && !julia && (method === "smooth" || method === "bands");

/** The fields of a camera. */
export const cameraOf = ({ limit, ...style }) => ({ ...style, max_iter: limit });

/** The style of a camera that a node tells. */
export function styleOf(camera) {
  const { max_iter: limit = null, ...rest } = camera;
  return Object.fromEntries(Object.keys(PLAIN).map((name) => [name, name === "limit" ? limit : (rest[name] ?? PLAIN[name])]));
}

/** What a job or session is ordered with: a model's parameters. */
export function paramsOf(shown, style, limit) {
  const julia = style.julia ? { julia: style.julia } : {};
  return { formula: style.formula, ...julia, ...texts(shown), max_iter: style.limit ?? limit, escape_radius: 2 };
}

/** How its values become colours, as a job is told. */
export const coloringOf = ({ palette, method, offset, scale, interior }) => ({ palette, method, offset, scale, interior });

/** The query that leads back to what is shown; what is as usual is left out. */
export function queryOf(shown, style) {
  const { center, radius } = texts(shown);
  const query = new URLSearchParams({ x: center[0], y: center[1], radius });
  const told = { max_iter: style.limit, formula: style.formula, julia: style.julia?.join(","), ...coloringOf(style) };
  const usual = { ...PLAIN, max_iter: null };
  for (const [name, value] of Object.entries(told)) if (value !== undefined && value !== null && value !== usual[name]) query.set(name, String(value));
  return query;
}

const READERS = {
  max_iter: (text) => ["limit", whole(text)],
  formula: (text) => ["formula", FORMULAS.some(([name]) => name === text) ? text : undefined],
  julia: (text) => ["julia", point(text)],
  palette: (text) => ["palette", /^[\w. -]{1,64}$/.test(text) ? text : undefined],
  method: (text) => ["method", METHODS.some(([name]) => name === text) ? text : undefined],
  offset: (text) => ["offset", finite(text)],
  scale: (text) => ["scale", finite(text) || undefined],
  interior: (text) => ["interior", /^#[0-9a-f]{6}$/i.test(text) ? text.toLowerCase() : undefined],
};

/** {view, style} of a query. Where it names none the view is null; what cannot be read is as usual. */
export function fromQuery(query) {
  const told = Object.entries(READERS).flatMap(([name, read]) => (query.get(name) ? [read(query.get(name))] : []));
  const style = { ...PLAIN, ...Object.fromEntries(told.filter(([, value]) => value !== undefined)) };
  try {
    return { view: query.has("radius") ? view(query.get("x") ?? "0", query.get("y") ?? "0", query.get("radius")) : null, style };
  } catch (error) {
    if (error instanceof RangeError) return { view: null, style };
    throw error;
  }
}

function whole(text) {
  const number = Number(text);
  return Number.isInteger(number) && number >= 1 && number <= MOST_ITERATIONS ? number : undefined;
}

function finite(text) {
  const number = Number(text);
  return Number.isFinite(number) && Math.abs(number) <= 1e6 ? number : undefined;
}

function point(text) {
  const parts = text.split(",");
  if (parts.length !== 2) return undefined;
  try {
    parts.forEach(decimal);
    return parts;
  } catch {
    return undefined;
  }
}
