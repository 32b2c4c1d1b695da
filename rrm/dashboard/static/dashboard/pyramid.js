// A Deep Zoom pyramid: level n halves level n+1, cut into tiles.

import { getBytes, request } from "./api.js";

const IN_FLIGHT = 4;
const KEPT = 400;
const AGAIN_MS = 5000;
const MAKING_TRIES = 60;

export class Pyramid {
  #base;
  #tiles = new Map();
  #waiting = [];
  #busy = 0;
  #changed;

  /** A job's pyramid, once it is made; `changed()` is called when a wanted tile has arrived. */
  static async open(job, changed = () => {}) {
    const text = await (await request("GET", `job/${job}/pyramid.dzi`, { headers: { Accept: "*/*" } })).text();
    const pyramid = new Pyramid(`job/${job}/pyramid_files/`, new DOMParser().parseFromString(text, "application/xml"), changed);
    await pyramid.fetch(0, 0, 0); // whoever is first has it made; few may wait for that at once
    return pyramid;
  }

  constructor(base, descriptor, changed) {
    const image = descriptor.documentElement;
    const size = descriptor.getElementsByTagNameNS("*", "Size")[0];
    if (image.localName !== "Image" || !size) throw new RangeError("not a Deep Zoom descriptor");
    this.#base = base;
    this.#changed = changed;
    this.width = Number(size.getAttribute("Width"));
    this.height = Number(size.getAttribute("Height"));
    this.tileSize = Number(image.getAttribute("TileSize"));
    this.overlap = Number(image.getAttribute("Overlap"));
    this.format = image.getAttribute("Format");
    this.top = Math.ceil(Math.log2(Math.max(this.width, this.height)));
  }

  levelSize(level) {
    const factor = 2 ** (this.top - level);
    return [Math.ceil(this.width / factor), Math.ceil(this.height / factor)];
  }

  /** The coarsest level that is no coarser than `scale` screen pixels for each picture pixel. */
  levelFor(scale) {
    return Math.min(this.top, Math.max(0, Math.ceil(this.top + Math.log2(scale) - 1e-9)));
  }

  tilesOf(level) {
    const [width, height] = this.levelSize(level);
    const tiles = [];
    for (let row = 0; row * this.tileSize < height; row += 1) {
      for (let col = 0; col * this.tileSize < width; col += 1) tiles.push([col, row]);
    }
    return tiles;
  }

  /** What the tile's file shows, overlap included: [x0, y0, x1, y1] in pixels of its level. */
  tileRect(level, col, row) {
    const [width, height] = this.levelSize(level);
    const from = (index) => Math.max(0, index * this.tileSize - this.overlap);
    const to = (index, size) => Math.min(size, (index + 1) * this.tileSize + this.overlap);
    return [from(col), from(row), to(col, width), to(row, height)];
  }

  /** The decoded tile if it is here, else null; a missing one is fetched in its turn when `wanted`. */
  peek(level, col, row, wanted) {
    const key = `${level}/${col}_${row}`;
    const tile = this.#tiles.get(key);
    if (tile) {
      this.#tiles.delete(key);
      this.#tiles.set(key, tile); // most recently used last
      return tile.bitmap;
    }
    if (wanted && !this.#waiting.includes(key)) this.#waiting.push(key);
    return null;
  }

  /** Forget the wishes of the last picture and begin those of this one. */
  restart() {
    this.#waiting.length = 0;
  }

  pump() {
    while (this.#busy < IN_FLIGHT && this.#waiting.length > 0) {
      const key = this.#waiting.shift();
      const tile = { bitmap: null };
      this.#tiles.set(key, tile);
      this.#busy += 1;
      this.#decode(key)
        .then((bitmap) => {
          tile.bitmap = bitmap;
        })
        .catch(() => setTimeout(() => this.#tiles.delete(key), AGAIN_MS))
        .finally(() => {
          this.#busy -= 1;
          this.#evict();
          this.#changed();
        });
    }
  }

  get loading() {
    return this.#busy + this.#waiting.length;
  }

  async fetch(level, col, row) {
    return this.#decode(`${level}/${col}_${row}`);
  }


  async #decode(key) {
    const bytes = await this.#bytes(`${this.#base}${key}.${this.format}`);
    return createImageBitmap(new Blob([bytes]));
  }

  /** A tile's file; who looks first may have to wait until the pyramid is made. */
  async #bytes(path) {
    for (let tries = 0; ; tries += 1) {
      try {
        return await getBytes(path);
      } catch (problem) {
        if (problem.code !== "not-ready" || !problem.retryAfter || tries >= MAKING_TRIES) throw problem;
        await new Promise((resolve) => setTimeout(resolve, 1000 * problem.retryAfter));
      }
    }
  }

  #evict() {
    for (const [key, tile] of this.#tiles) {
      if (this.#tiles.size <= KEPT) return;
      if (tile.bitmap === null) continue;
      tile.bitmap.close();
      this.#tiles.delete(key);
    }
  }
}
