// Borders around tiles in their site's colour, on a canvas of their own: they can fade or go without touching the picture.

import { safeColor } from "./dom.js";
import { tileBox } from "./tiling.js";

const FADE_MS = 5000;
const STEPS = 10;

export class Borders {
  #canvas;
  #context;
  #tiling = null;
  #record = null;
  #born = new Map();
  #chosen = -1;
  #mode = "fade";
  #frame = 0;

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    new ResizeObserver(() => this.#resize()).observe(canvas);
    matchMedia("(prefers-reduced-motion: reduce)").addEventListener("change", () => this.#request());
  }

  open(tiling, record) {
    this.#tiling = tiling;
    this.#record = record;
    this.#born.clear();
    this.#chosen = -1;
    this.#resize();
  }

  set mode(mode) {
    this.#mode = mode;
    this.#request();
  }

  /** The tile under the pointer or the keyboard's choice; -1 for none. */
  set chosen(tile) {
    if (tile === this.#chosen) return;
    this.#chosen = tile;
    this.#request();
  }

  show(lease) {
    const now = performance.now();
    for (let tile = lease.start; tile < lease.stop; tile += 1) this.#born.set(tile, now);
    this.#request();
  }

  #resize() {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(this.#canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.#canvas.clientHeight * ratio));
    if (this.#canvas.width !== width) this.#canvas.width = width;
    if (this.#canvas.height !== height) this.#canvas.height = height;
    this.#request();
  }

  #request() {
    this.#frame ||= requestAnimationFrame((now) => {
      this.#frame = 0;
      this.#draw(now);
    });
  }

  #strength(tile, now) {
    if (this.#mode === "keep") return 1;
    const age = now - (this.#born.get(tile) ?? -Infinity);
    return Math.ceil(STEPS * Math.max(0, 1 - age / FADE_MS)) / STEPS;
  }

  #draw(now) {
    this.#context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    if (this.#tiling === null) return;
    const scale = this.#canvas.width / this.#tiling.width;
    if (this.#mode !== "off") this.#drawBorders(now, scale);
    if (this.#chosen >= 0) this.#drawChosen(scale);
  }

  #drawBorders(now, scale) {
    const groups = new Map();
    const tiles = this.#mode === "keep" ? this.#record.owner.keys() : this.#born.keys();
    for (const tile of tiles) {
      const lease = this.#record.leaseOf(tile);
      const strength = lease ? this.#strength(tile, now) : 0;
      if (strength === 0) {
        this.#born.delete(tile);
        continue;
      }
      const key = `${safeColor(lease.color)} ${strength}`;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(tile);
    }
    for (const [key, members] of groups) this.#stroke(key.split(" "), members, scale);
    // Fading goes in a few steps a second: less motion, less work.
    if (this.#mode === "fade" && this.#born.size > 0) setTimeout(() => this.#request(), FADE_MS / STEPS / 2);
  }

  #stroke([color, strength], tiles, scale) {
    const line = Math.max(1, Math.min(2 * (window.devicePixelRatio || 1), this.#tiling.size * scale * 0.06));
    const context = this.#context;
    context.strokeStyle = color;
    context.globalAlpha = Number(strength);
    context.lineWidth = line;
    context.beginPath();
    for (const tile of tiles) {
      const [left, top, width, height] = tileBox(this.#tiling, tile, scale);
      context.rect(left + line / 2, top + line / 2, width - line, height - line);
    }
    context.stroke();
    context.globalAlpha = 1;
  }

  #drawChosen(scale) {
    const ratio = window.devicePixelRatio || 1;
    const [left, top, width, height] = tileBox(this.#tiling, this.#chosen, scale);
    // White on black shows on every palette.
    for (const [color, line] of [["#000000", 4 * ratio], ["#ffffff", 2 * ratio]]) {
      this.#context.strokeStyle = color;
      this.#context.lineWidth = line;
      this.#context.strokeRect(left + 2 * ratio, top + 2 * ratio, Math.max(1, width - 4 * ratio), Math.max(1, height - 4 * ratio));
    }
  }
}
