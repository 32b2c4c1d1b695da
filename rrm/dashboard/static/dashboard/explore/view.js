// Where one looks: a centre of any precision and a radius, half the shorter side of what is seen.

import { apart, decimal, lengths, log10, plus, ratio, rounded, size, sizeText, textOf, times } from "../decimal.js";

const LARGEST = size("20");
const DEEPEST = size("1e-1000");
const DEEPEST_DOUBLE = size("1e-12"); // of formulas and colourings that are drawn in double precision only
const FARTHEST = decimal("20");
const GUARD = 14; // places beyond those of the radius: far less than a pixel

export const WHOLE = view("-0.75", "0", "1.25");
export const WHOLE_JULIA = view("0", "0", "1.5");

/** A view of texts or numbers. Raises RangeError for what is none, or too far away or too deep to look at. */
export function view(x, y, radius) {
  const made = { x: decimal(x), y: decimal(y), radius: size(radius) };
  if (ratio(made.radius, LARGEST) > 1.000001 || ratio(DEEPEST, made.radius) > 1.000001) throw new RangeError(`a radius of ${radius} cannot be shown`);
  return { ...made, x: within(made.x), y: within(made.y) };
}

function within(coordinate) {
  const excess = apart(coordinate, FARTHEST, LARGEST) > 0 ? FARTHEST : coordinate;
  const least = { units: -FARTHEST.units, places: FARTHEST.places };
  return apart(least, excess, LARGEST) > 0 ? least : excess;
}

/** Moved by so many radii to the right and up. No digit of the centre is lost. */
export function panned(from, [right, up]) {
  const { x, y, radius } = from;
  return { x: within(plus(x, lengths(radius, right))), y: within(plus(y, lengths(radius, up))), radius };
}

/** Magnified by a factor about a point that is so many radii to the right of the centre and above it. */
export function zoomed(from, factor, [right, up] = [0, 0], { deep = true } = {}) {
  let radius = times(from.radius, 1 / factor);
  const least = deep ? DEEPEST : DEEPEST_DOUBLE;
  if (ratio(radius, least) < 1) radius = ratio(from.radius, least) < 1 ? from.radius : least;
  if (ratio(radius, LARGEST) > 1) radius = LARGEST;
  const kept = 1 - ratio(radius, from.radius);
  return { ...panned(from, [right * kept, up * kept]), radius };
}

/** Where another view lies in this one: its centre in radii from this one's, and its radius in this one's. */
export function placed(other, { x, y, radius }) {
  return { right: apart(other.x, x, radius), up: apart(other.y, y, radius), scale: ratio(other.radius, radius) };
}

/** {center, radius} as the API and nodes read them: with all digits that can be seen. */
export function texts({ x, y, radius }) {
  const places = Math.max(0, GUARD - radius.exponent);
  return { center: [textOf(rounded(x, places)), textOf(rounded(y, places))], radius: sizeText(radius) };
}

export function sameView(a, b) {
  return JSON.stringify(texts(a)) === JSON.stringify(texts(b));
}

/** Powers of ten by which the view is magnified, against the whole set. */
export const depth = ({ radius }) => log10(WHOLE.radius) - log10(radius);

/** Whether it lies beyond double precision. */
export const isDeep = ({ radius }) => log10(radius) < -13;

/** The iteration limit that a node chooses by the depth. */
export function chosenLimit({ radius }) {
  const decades = Math.max(0, Math.floor(Math.log10(2) - log10(radius)));
  return Math.min(600 + 200 * decades + 30 * decades * decades, 1_000_000);
}
