// Numbers that doubles cannot hold: decimals of any length, exactly, and lengths of any size, to twelve digits.
//
// A decimal is {units, places}: units (a BigInt) times 10^-places. A size is {mantissa, exponent}: a positive number
// mantissa·10^exponent with 1 ≤ mantissa < 10.

const FORM = /^([+-]?)(\d*)\.?(\d*)(?:e([+-]?\d{1,5}))?$/i;
const LONGEST = 4000; // characters; with the exponents above that bounds what a text can cost
const MOST_PLACES = 5000;
const DIGITS = 12;
const EXACT_DIGITS = 17; // more than a double has

const tenTo = (power) => 10n ** BigInt(power);

/** The decimal of a text or number. Raises RangeError for what is none. */
export function decimal(text) {
  const found = String(text).length <= LONGEST ? FORM.exec(String(text).trim()) : null;
  const [, sign, whole, fraction, power = "0"] = found ?? [];
  if (!found || whole + fraction === "" || Math.abs(Number(power)) > MOST_PLACES) throw new RangeError(`${String(text).slice(0, 40)} is not a decimal number`);
  const units = BigInt(whole + fraction) * (sign === "-" ? -1n : 1n);
  const places = fraction.length - Number(power);
  return places >= 0 ? { units, places } : { units: units * tenTo(-places), places: 0 };
}

const unitsAt = ({ units, places }, more) => units * tenTo(more - places);

export function plus(a, b) {
  const places = Math.max(a.places, b.places);
  return { units: unitsAt(a, places) + unitsAt(b, places), places };
}

export const minus = (a, b) => plus(a, { units: -b.units, places: b.places });

/** Rounded to so many places, halves away from zero; shorter ones stay. */
export function rounded(number, places) {
  if (number.places <= places) return number;
  const divisor = tenTo(number.places - places);
  const half = number.units < 0n ? -divisor / 2n : divisor / 2n;
  return { units: (number.units + half) / divisor, places };
}

/** As text without an exponent, and without zeros at its end. */
export function textOf({ units, places }) {
  const digits = String(units < 0n ? -units : units).padStart(places + 1, "0");
  const split = digits.length - places;
  const fraction = digits.slice(split).replace(/0+$/, "");
  return `${units < 0n ? "-" : ""}${digits.slice(0, split)}${fraction && `.${fraction}`}`;
}

/** The size of a text, number or decimal. Raises RangeError unless it is greater than 0. */
export function size(value) {
  const { units, places } = typeof value === "object" ? value : decimal(value);
  if (units <= 0n) throw new RangeError("a size is greater than 0");
  const digits = String(units);
  return normal(Number(`${digits[0]}.${digits.slice(1, EXACT_DIGITS + 2)}`), digits.length - places - 1);
}

function normal(mantissa, exponent) {
  const [leading, power] = mantissa.toExponential(DIGITS - 1).split("e");
  return { mantissa: Number(leading), exponent: exponent + Number(power) };
}

/** A size times a positive number. */
export const times = ({ mantissa, exponent }, factor) => normal(mantissa * factor, exponent);

/** One size divided by another, as a number: 0 or Infinity where that is beyond doubles. */
export const ratio = (a, b) => (a.mantissa / b.mantissa) * 10 ** (a.exponent - b.exponent);

export const log10 = ({ mantissa, exponent }) => Math.log10(mantissa) + exponent;

/** As a text that `size` reads back to the same; plain where that is short. */
export function sizeText({ mantissa, exponent }) {
  return Math.abs(exponent) < 5 ? String(Number(`${mantissa}e${exponent}`)) : `${mantissa}e${exponent}`;
}

/** So many sizes as a decimal; `count` is a number of either sign. */
export function lengths({ mantissa, exponent }, count) {
  const [leading, power] = (mantissa * count).toExponential(EXACT_DIGITS - 1).split("e");
  return decimal(`${leading}e${Number(power) + exponent}`);
}

/** How many sizes lie between two decimals, as a number: a - b. */
export function apart(a, b, unit) {
  const { units, places } = minus(a, b);
  if (units === 0n) return 0;
  return units < 0n ? -ratio(size({ units: -units, places }), unit) : ratio(size({ units, places }), unit);
}
