// Palettes as swatches.

import { el } from "./dom.js";

const STEPS = 96;

const channels = (color) => [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));

/** The colour at t in 0..1; cosine interpolation eases in and out of each stop. */
export function colorAt(stops, interpolation, t) {
  const last = stops.length - 1;
  let index = stops.findIndex(([position]) => position > t) - 1;
  if (index === -2) index = last;
  const [from, a] = stops[Math.max(0, index)];
  const [to, b] = stops[Math.min(last, index + 1)];
  const part = to > from ? (t - from) / (to - from) : 0;
  const mix = interpolation === "cosine" ? (1 - Math.cos(Math.PI * part)) / 2 : part;
  const [p, q] = [channels(a), channels(b)];
  return p.map((value, channel) => Math.round(value + (q[channel] - value) * Math.min(1, Math.max(0, mix))));
}

function swatch({ stops, interpolation }) {
  const canvas = el("canvas", { class: "swatch", width: STEPS, height: 1, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(STEPS, 1);
  for (let x = 0; x < STEPS; x += 1) pixels.data.set([...colorAt(stops, interpolation, x / (STEPS - 1)), 255], 4 * x);
  context.putImageData(pixels, 0, 0);
  return canvas;
}

const group = (name, palettes) => el("optgroup", { label: name }, ...palettes.map((palette) => el("option", { value: palette.name, title: palette.origin }, palette.name)));

/** A list of all palettes, those that ship with RRM before the colour maps, and a swatch of the chosen one. */
export function paletteList(select, sample, palettes, preferred) {
  const show = () => sample.replaceChildren(swatch(palettes.find((palette) => palette.name === select.value) ?? palettes[0]));
  const [maps, own] = [true, false].map((listed) => palettes.filter((palette) => Boolean(palette.license) === listed));
  select.replaceChildren(group("Palettes", own), group("Colour maps", maps));
  if (palettes.some((palette) => palette.name === preferred)) select.value = preferred;
  select.addEventListener("change", show);
  show();
}

/** Radio buttons, one for each palette; the first (or `preferred`) is chosen. */
export function palettePicker(host, palettes, preferred) {
  const chosen = palettes.some((palette) => palette.name === preferred) ? preferred : palettes[0]?.name;
  host.replaceChildren(
    ...palettes.map((palette) =>
      el("label", { class: "palette", title: palette.origin }, el("input", { type: "radio", name: "palette", value: palette.name, checked: palette.name === chosen }), swatch(palette), el("span", {}, palette.name)),
    ),
  );
}
