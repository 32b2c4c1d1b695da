// Which tile is this?  The pointer or the arrow keys choose one; a tip says who rendered it.

import { el, mark, replace } from "./dom.js";
import { milliseconds } from "./format.js";
import { tileAt, tileBox, tileCount } from "./tiling.js";

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

export class Inspector {
  #canvas;
  #tip;
  #borders;
  #tiling = null;
  #record = null;
  #chosen = -1;

  constructor(canvas, tip, borders) {
    this.#canvas = canvas;
    this.#tip = tip;
    this.#borders = borders;
    canvas.addEventListener("pointermove", (event) => this.#choose(this.#under(event)));
    canvas.addEventListener("pointerdown", (event) => this.#choose(this.#under(event)));
    canvas.addEventListener("pointerleave", () => this.#choose(-1));
    canvas.addEventListener("blur", () => this.#choose(-1));
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  open(tiling, record) {
    this.#tiling = tiling;
    this.#record = record;
    this.#choose(-1);
  }

  /** Show again what is known of the chosen tile. */
  refresh() {
    if (this.#chosen >= 0) this.#show();
  }

  #under(event) {
    if (this.#tiling === null) return -1;
    const box = this.#canvas.getBoundingClientRect();
    return tileAt(this.#tiling, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  }

  #key(event) {
    if (this.#tiling === null || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") this.#choose(-1);
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    this.#choose(this.#moved(step));
  }

  #moved([across, up]) {
    const { cols, rows } = this.#tiling;
    if (this.#chosen < 0) return tileCount(this.#tiling) - cols;
    const col = Math.min(cols - 1, Math.max(0, (this.#chosen % cols) + across));
    const row = Math.min(rows - 1, Math.max(0, Math.floor(this.#chosen / cols) + up));
    return row * cols + col;
  }

  #choose(tile) {
    this.#borders.chosen = tile;
    if (tile === this.#chosen && tile >= 0) return;
    this.#chosen = tile;
    this.#tip.hidden = tile < 0;
    if (tile >= 0) this.#show();
  }

  #show() {
    const tile = this.#chosen;
    const place = `row ${Math.floor(tile / this.#tiling.cols)}, column ${tile % this.#tiling.cols}`;
    const lease = this.#record.leaseOf(tile);
    replace(this.#tip, el("strong", {}, `Tile ${tile}`), el("span", {}, place), ...(lease ? this.#renderer(tile, lease) : [el("span", {}, "not rendered yet")]));
    this.#position();
  }

  #renderer(tile, lease) {
    const { ms, exact } = this.#record.timeOf(tile);
    return [
      el("span", {}, mark(lease.color), lease.site),
      el("span", {}, lease.hostname ? `${lease.node_name} on ${lease.hostname}` : lease.node_name),
      el("span", {}, exact ? milliseconds(ms) : `${milliseconds(ms)}, mean of its range`),
    ];
  }

  #position() {
    const scale = this.#canvas.clientWidth / this.#tiling.width;
    const [left, top, width, height] = tileBox(this.#tiling, this.#chosen, scale);
    const room = this.#tip.parentElement;
    const x = Math.min(Math.max(0, left + width / 2 - this.#tip.offsetWidth / 2), room.clientWidth - this.#tip.offsetWidth);
    const above = top - this.#tip.offsetHeight - 6;
    this.#tip.style.setProperty("left", `${Math.max(0, x)}px`);
    this.#tip.style.setProperty("top", `${above >= 0 ? above : top + height + 6}px`);
  }
}
