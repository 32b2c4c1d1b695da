// The zoomable picture of a finished job, its buttons and its coordinates.

import { byId } from "./dom.js";
import { digits, length, pointAt } from "./plane.js";
import { Pyramid } from "./pyramid.js";
import { Viewer } from "./viewer.js";

export class ZoomPanel {
  #viewer = new Viewer(byId("viewer"), () => this.#moved());
  #job = null;

  constructor() {
    for (const button of document.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => this.#press(button.dataset.zoom));
    byId("viewer").addEventListener("pointermove", (event) => this.#point(event));
  }

  /** Show the pyramid instead of the live tiles. */
  async open(job) {
    const pyramid = await Pyramid.open(job.id, () => this.#viewer.redraw());
    this.#job = job;
    for (const id of ["viewer", "zoom-tools", "plane"]) byId(id).hidden = false;
    byId("borders").hidden = true;
    byId("tiles").hidden = true;
    byId("border-modes").hidden = true;
    byId("stage").classList.add("free");
    this.#viewer.open(pyramid);
  }

  #press(what) {
    ({ in: () => this.#viewer.zoom(1.5), out: () => this.#viewer.zoom(1 / 1.5), fit: () => this.#viewer.fit(), one: () => this.#viewer.one() })[what]();
  }

  #moved() {
    if (this.#job === null) return;
    const { x, y, half, scale } = this.#viewer.view;
    this.#write([x, y], scale);
    this.#link(x, y, half);
  }

  #point(event) {
    this.#write(this.#viewer.pixelUnder(event), this.#viewer.view.scale);
  }

  #write(pixel, scale) {
    const [x, y] = pointAt(this.#job, pixel);
    const { dx, dy } = this.#job.view;
    const percent = (scale * 100 * (window.devicePixelRatio || 1)).toPrecision(3);
    byId("plane").textContent = `x ${digits(x, dx)}   y ${digits(y, dy)}   ${percent} %`;
  }

  #link(x, y, half) {
    const { view, params } = this.#job;
    const point = pointAt(this.#job, [x, y]);
    const place = { x: digits(point[0], view.dx), y: digits(point[1], view.dy), radius: length(half, view.dx) };
    const query = new URLSearchParams({ ...place, max_iter: params.max_iter });
    byId("render-view").href = `/?${query}`;
    byId("explore-view").href = `/explore/?${withLooks(query, this.#job)}`;
  }
}

/** The query with the formula and colours of a job as well. */
function withLooks(query, { params, coloring }) {
  const looks = { formula: params.formula, julia: params.julia?.join(","), ...coloring };
  const more = new URLSearchParams(query);
  for (const name of ["formula", "julia", "palette", "method", "offset", "scale", "interior"]) {
    if (looks[name] !== undefined && looks[name] !== null) more.set(name, looks[name]);
  }
  return more;
}
