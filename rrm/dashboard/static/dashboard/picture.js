// The live picture: tiles drawn where they belong as their ranges arrive.

import { tileBox } from "./tiling.js";

export const CANVAS_LIMIT = 2048;

export class Picture {
  #canvas;
  #context;
  #tiling = null;

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: true });
  }

  open(tiling) {
    this.#tiling = tiling;
    this.#canvas.width = tiling.canvasWidth;
    this.#canvas.height = tiling.canvasHeight;
    this.#canvas.dataset.drawn = "0";
  }

  /** Draw a bundle's tiles; `current()` says whether the job is still the open one when an image has been decoded. */
  async draw(bundle, current) {
    await Promise.all(bundle.tiles.map((entry) => this.#drawTile(entry, current)));
  }

  async #drawTile({ tile, image }, current) {
    const bitmap = await createImageBitmap(image);
    if (current()) {
      this.paint(bitmap, tileBox(this.#tiling, tile));
      this.#canvas.dataset.drawn = String(Number(this.#canvas.dataset.drawn) + 1);
    }
    bitmap.close();
  }

  paint(bitmap, [left, top, width, height]) {
    const exact = bitmap.width === width && bitmap.height === height;
    this.#context.imageSmoothingEnabled = !exact;
    this.#context.imageSmoothingQuality = "high";
    this.#context.drawImage(bitmap, left, top, width, height);
  }

  /** Draw the whole picture from a level of its pyramid. */
  async drawPyramid(pyramid, current) {
    const level = pyramid.levelFor(this.#tiling.scale);
    const scale = this.#tiling.canvasWidth / pyramid.levelSize(level)[0];
    const down = this.#tiling.canvasHeight / pyramid.levelSize(level)[1];
    await Promise.all(
      pyramid.tilesOf(level).map(async ([col, row]) => {
        const bitmap = await pyramid.fetch(level, col, row);
        if (!current()) return;
        const [x0, y0, x1, y1] = pyramid.tileRect(level, col, row);
        const [left, top] = [Math.round(x0 * scale), Math.round(y0 * down)];
        this.paint(bitmap, [left, top, Math.round(x1 * scale) - left, Math.round(y1 * down) - top]);
      }),
    );
    this.#canvas.dataset.drawn = "all";
  }
}
