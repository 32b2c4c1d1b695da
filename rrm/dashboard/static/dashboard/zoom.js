// The zoomable picture of a finished job, its buttons and its coordinates.

import { byId } from "./dom.js";
import { digits, planeOf, pointAt } from "./plane.js";
import { Pyramid } from "./pyramid.js";
import { Viewer } from "./viewer.js";

export class ZoomPanel {
  #viewer = new Viewer(byId("viewer"), () => this.#moved());
  #plane = null;
  #params = null;

  constructor() {
    for (const button of document.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => this.#press(button.dataset.zoom));
    byId("viewer").addEventListener("pointermove", (event) => this.#point(event));
  }

  /** Show the pyramid instead of the live tiles. */
  async open(job) {
    const pyramid = await Pyramid.open(job.id, () => this.#viewer.redraw());
    this.#plane = job.params ? planeOf(job) : null;
    this.#params = job.params ?? null;
    for (const id of ["viewer", "zoom-tools", "plane"]) byId(id).hidden = false;
    byId("render-view").hidden = this.#plane === null;
    byId("borders").hidden = true;
    byId("tiles").hidden = true;
    byId("border-modes").hidden = true;
    this.#viewer.open(pyramid);
  }

  #press(what) {
    ({ in: () => this.#viewer.zoom(1.5), out: () => this.#viewer.zoom(1 / 1.5), fit: () => this.#viewer.fit(), one: () => this.#viewer.one() })[what]();
  }

  #moved() {
    const { x, y, half, scale } = this.#viewer.view;
    this.#write([x, y], scale);
    if (this.#plane) this.#link(x, y, half);
  }

  #point(event) {
    this.#write(this.#viewer.pixelUnder(event), this.#viewer.view.scale);
  }

  #write(pixel, scale) {
    const percent = `${(scale * 100 * (window.devicePixelRatio || 1)).toPrecision(3)} %`;
    if (this.#plane === null) {
      byId("plane").textContent = percent;
      return;
    }
    const [x, y] = pointAt(this.#plane, pixel);
    byId("plane").textContent = `x ${digits(x, this.#plane.dx)}   y ${digits(y, this.#plane.dy)}   ${percent}`;
  }

  #link(x, y, half) {
    const point = pointAt(this.#plane, [x, y]);
    const values = { x: digits(point[0], this.#plane.dx), y: digits(point[1], this.#plane.dy), radius: (half * Math.abs(this.#plane.dx)).toPrecision(6), max_iter: this.#params.max_iter };
    byId("render-view").href = `/?${new URLSearchParams(values)}`;
  }
}
