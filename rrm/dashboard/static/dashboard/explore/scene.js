// The canvas: frames drawn where their cameras looked, moved and scaled at once when the view changes.

import { ratio } from "../decimal.js";
import { placed } from "./view.js";

const MOST_KEPT = 4; // earlier pictures behind the newest, for the edges that it does not cover
const LARGEST_SIDE = 1e6; // a frame that would be drawn larger shows nothing of use

/** A picture is {bitmap, view, width, height, step, final, style (a text), limit}. */
export class Scene {
  #canvas;
  #context;
  #view = null;
  #pictures = []; // the newest last
  #request = 0;
  #resized;

  /** `resized()` is called when the canvas has another size in device pixels. */
  constructor(canvas, resized) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: true });
    this.#resized = resized;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    this.#watchRatio();
  }

  get canvas() {
    return this.#canvas;
  }

  /** Width and height in device pixels. */
  get pixels() {
    return [this.#canvas.width, this.#canvas.height];
  }

  /** CSS pixels in one radius. */
  get unit() {
    return Math.max(1, Math.min(this.#canvas.clientWidth, this.#canvas.clientHeight)) / 2;
  }

  get newest() {
    return this.#pictures.at(-1) ?? null;
  }

  look(view) {
    this.#view = view;
    this.redraw();
  }

  show(picture) {
    const kept = this.#pictures.filter((other) => this.#stays(other, picture));
    const dropped = kept.splice(0, Math.max(0, kept.length - MOST_KEPT));
    for (const other of [...dropped, ...this.#pictures.filter((one) => !kept.includes(one) && !dropped.includes(one))]) other.bitmap.close();
    this.#pictures = [...kept, picture];
    this.redraw();
  }

  /** Forget all pictures: what comes next has nothing to do with them. */
  clear() {
    for (const { bitmap } of this.#pictures) bitmap.close();
    this.#pictures = [];
    this.redraw();
  }

  redraw() {
    this.#request ||= requestAnimationFrame(() => {
      this.#request = 0;
      this.#draw();
    });
  }

  /** What is shown, as an image of some type. */
  blob(type) {
    this.#draw();
    return new Promise((resolve) => this.#canvas.toBlob(resolve, type));
  }

  /** A small copy of what is shown. */
  thumbnail(width, height) {
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [width, height];
    const [wide, high] = this.pixels;
    const scale = Math.min(wide / width, high / height);
    const [across, down] = [width * scale, height * scale];
    copy.getContext("2d").drawImage(this.#canvas, (wide - across) / 2, (high - down) / 2, across, down, 0, 0, width, height);
    return copy;
  }

  /** Whether an earlier picture may still fill what a newer one leaves open, or show more detail than it. */
  #stays(other, newer) {
    if (other.style !== newer.style) return false;
    const covered = coversOf(newer.view, newer, other);
    return newer.final ? !covered && other.final : other.final || sample(other, newer.view) < sample(newer, newer.view);
  }

  #draw() {
    const { width, height } = this.#canvas;
    this.#context.clearRect(0, 0, width, height);
    if (!this.#view) return;
    this.#context.imageSmoothingQuality = "high";
    for (const picture of this.#inOrder()) this.#place(picture, width, height);
  }

  /** The most detailed last: whatever moves, the best of what is there is seen. Other limits look different. */
  #inOrder() {
    const newest = this.newest;
    if (!newest) return [];
    const weight = (picture) => [picture.limit === newest.limit || picture === newest ? 1 : 0, -sample(picture, newest.view)];
    if (newest.final) return [...this.#pictures.slice(0, -1).sort((a, b) => sample(b, newest.view) - sample(a, newest.view)), newest];
    return [...this.#pictures].sort((a, b) => {
      const [p, q] = [weight(a), weight(b)];
      return p[0] - q[0] || p[1] - q[1];
    });
  }

  #place({ bitmap, view, width: wide, height: high }, width, height) {
    const { right, up, scale } = placed(view, this.#view);
    const unit = Math.min(width, height) / 2;
    const side = (2 * unit * scale) / Math.min(wide, high);
    const [across, down] = [wide * side, high * side];
    const [left, top] = [width / 2 + right * unit - across / 2, height / 2 - up * unit - down / 2];
    if (!(Math.max(across, down) < LARGEST_SIDE) || across < 0.5) return;
    if (left >= width || top >= height || left + across <= 0 || top + down <= 0) return;
    this.#context.imageSmoothingEnabled = side !== 1;
    this.#context.drawImage(bitmap, snapped(left), snapped(top), across, down);
  }

  #resize() {
    const sides = [this.#canvas.clientWidth, this.#canvas.clientHeight].map((side) => Math.max(1, Math.round(side * (window.devicePixelRatio || 1))));
    if (sides[0] === this.#canvas.width && sides[1] === this.#canvas.height) return;
    [this.#canvas.width, this.#canvas.height] = sides;
    this.#draw(); // at once: setting a size has emptied the canvas
    this.#resized();
  }

  #watchRatio() {
    const query = matchMedia(`(resolution: ${window.devicePixelRatio || 1}dppx)`);
    query.addEventListener("change", () => {
      this.#resize();
      this.#watchRatio();
    }, { once: true });
  }
}

/** The side of one sample, in radii of a view. */
const sample = ({ view, width, height, step }, { radius }) => (2 * step * ratio(view.radius, radius)) / Math.min(width, height);

/** Whether a picture of this view hides all of another one. */
function coversOf(view, { width, height }, other) {
  const { right, up, scale } = placed(other.view, view);
  const reach = ([wide, high]) => [wide / Math.min(wide, high), high / Math.min(wide, high)];
  const [mine, its] = [reach([width, height]), reach([other.width, other.height])];
  return Math.abs(right) + its[0] * scale <= mine[0] + 1e-9 && Math.abs(up) + its[1] * scale <= mine[1] + 1e-9;
}

/** A place that is a whole pixel but for rounding is one, so that pictures stay crisp. */
const snapped = (place) => (Math.abs(place - Math.round(place)) < 0.01 ? Math.round(place) : place);
