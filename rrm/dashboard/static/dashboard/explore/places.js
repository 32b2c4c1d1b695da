// Places worth a look, and the models that have names here.

import { decimal, minus, plus, size, sizeText, textOf } from "../decimal.js";
import { el } from "../dom.js";
import { PLAIN } from "./style.js";
import { view } from "./view.js";

const KNOWN = [
  ["The whole set", "-0.75", "0", "1.25"],
  ["Seahorse valley", "-0.7463", "0.1102", "0.005"],
  ["Elephants", "0.2925755", "-0.0149977", "0.003"],
  ["A spiral", "-0.77568377", "0.13646737", "0.0001"],
  ["Two spirals", "-0.743643887", "0.131825904", "0.00003"],
  ["Star of eight", "-0.374004139", "0.659792175", "0.003"],
  ["Star of five", "-0.5622", "0.6428", "0.006"],
  ["A crossing", "-0.1011", "0.9563", "0.02"],
  ["Minibrot on the antenna", "-1.7548776662466927", "0", "0.03"],
];
const SHIPS = [
  ["The ship", "-0.5", "-0.5", "1.6", { formula: "burning-ship" }],
  ["Its armada", "-1.7620", "-0.0280", "0.04", { formula: "burning-ship" }],
];

const half = ({ units, places }) => ({ units: units * 5n, places: places + 1 });

/** The view of a model's parameters; of a viewport, all of it. */
export function viewOfParams({ center, radius, viewport }) {
  if (!viewport) return view(center[0], center[1], radius);
  const [xmin, xmax, ymin, ymax] = viewport.map(decimal);
  const [across, up] = [minus(xmax, xmin), minus(ymax, ymin)];
  const shorter = minus(across, up).units < 0n ? across : up;
  return view(textOf(half(plus(xmin, xmax))), textOf(half(plus(ymin, ymax))), sizeText(size(half(shorter))));
}

/** A list to choose from; `go({view, style})` with the fields of the style that belong to the place. */
export function offerPlaces(select, models, go) {
  const places = [];
  const option = (name, place) => el("option", { value: places.push(place) - 1 }, name);
  const known = (all) => all.map(([name, x, y, radius, style = {}]) => option(name, () => ({ view: view(x, y, radius), style: { ...FIRST, ...style } })));
  const named = models.map(({ name, params }) =>
    option(name, () => ({ view: viewOfParams(params), style: { formula: params.formula ?? PLAIN.formula, julia: params.julia ?? null, limit: params.max_iter } })),
  );
  select.replaceChildren(
    el("option", { value: "" }, "Choose…"),
    el("optgroup", { label: "Well known" }, ...known(KNOWN)),
    el("optgroup", { label: "Burning Ship" }, ...known(SHIPS)),
    ...(named.length > 0 ? [el("optgroup", { label: "Models of this service" }, ...named)] : []),
  );
  select.addEventListener("change", () => {
    if (select.value !== "") go(places[Number(select.value)]());
    select.value = "";
  });
}

const FIRST = { formula: PLAIN.formula, julia: null, limit: null };
