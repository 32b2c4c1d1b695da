// Where a picture's pixels lie in the complex plane.

import { decimal, lengths, plus, rounded, size, sizeText, textOf, times } from "./decimal.js";

/** The plane's point under a pixel of a job's picture, measured from the top left corner: numbers, or decimal strings beyond doubles. */
export function pointAt({ view, width, height }, [across, down]) {
  if (view.center === undefined) return [view.x0 + across * view.dx, view.y0 + (height - down) * view.dy];
  return [moved(view.center[0], across - width / 2, view.dx), moved(view.center[1], height / 2 - down, view.dy)];
}

/** A number with as many digits as one pixel needs. */
export function digits(value, pixel) {
  if (typeof value === "string") return value;
  const places = Math.min(17, Math.max(2, Math.ceil(-Math.log10(Math.abs(pixel))) + 1));
  return value.toFixed(places);
}

/** So many pixels as a length; `pixel` is a number, or a decimal string beyond doubles. */
export const length = (pixels, pixel) => sizeText(times(size(pixel), pixels));

/** A decimal string moved by so many pixels, to a hundredth of one. */
function moved(start, pixels, pixel) {
  const side = size(pixel);
  return textOf(rounded(plus(decimal(start), lengths(side, pixels)), 2 - side.exponent));
}
