// Where a picture's pixels lie in the complex plane.

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

/** So many pixels as a length with six digits; `pixel` is a number, or a decimal string beyond doubles. */
export function length(pixels, pixel) {
  const [mantissa, exponent] = scientific(pixel);
  const [leading, more] = (pixels * mantissa).toExponential(5).split("e");
  const total = exponent + Number(more);
  return total < -300 ? `${leading}e${total}` : Number(`${leading}e${total}`).toPrecision(6);
}

/** A decimal string moved by so many pixels, to a hundredth of one. */
function moved(start, pixels, pixel) {
  const [mantissa, exponent] = scientific(pixel);
  const places = 2 - exponent;
  const sum = fixed(start, places) + BigInt(Math.round(pixels * mantissa * 100));
  const text = String(sum < 0n ? -sum : sum).padStart(places + 1, "0");
  return `${sum < 0n ? "-" : ""}${text.slice(0, -places)}.${text.slice(-places)}`;
}

/** A decimal string times 10^places, cut off. */
function fixed(text, places) {
  const [, sign, whole, fraction = "", power = "0"] = /^([+-]?)(\d*)\.?(\d*)(?:e([+-]?\d+))?$/i.exec(text);
  const shift = places + Number(power) - fraction.length;
  const number = BigInt(whole + fraction);
  const scaled = shift >= 0 ? number * 10n ** BigInt(shift) : number / 10n ** BigInt(-shift);
  return sign === "-" ? -scaled : scaled;
}

/** [m, e] of a number m·10^e with 1 ≤ m < 10, whatever its exponent. */
function scientific(number) {
  const [mantissa, exponent = "0"] = String(number).toLowerCase().split("e");
  const [leading, more] = Number(mantissa).toExponential().split("e");
  return [Number(leading), Number(more) + Number(exponent)];
}
