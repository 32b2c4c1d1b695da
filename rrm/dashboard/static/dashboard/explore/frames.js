// Frames as a node sends them, and which of them may still be shown.

import { view } from "./view.js";

const LENGTH_BYTES = 4;

/** {header, image} of a binary message: the length of a JSON header, the header, the image. */
export function readFrame(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, LENGTH_BYTES, length)));
  return { header, image: new Blob([new Uint8Array(buffer, LENGTH_BYTES + length)], { type: header.type }) };
}

/** Where the frame's camera looked. */
export const viewOf = ({ center, radius }) => view(center[0], center[1], radius);

/** Names cameras so that frames for this page's are told from those of others, and newer from older. */
export class Cameras {
  #prefix = Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  #last = 0;

  next() {
    this.#last += 1;
    return `${this.#prefix}-${this.#last}`;
  }

  /** Its number, if it is a camera of this page; else null. */
  numberOf(id) {
    const [prefix, number] = String(id).split("-");
    return prefix === this.#prefix ? Number(number) : null;
  }

  get last() {
    return this.#last;
  }
}

/** Lets pass what is newer than all that passed: a later camera, or the same one more finely. */
export class Newest {
  #camera = 0;
  #step = Infinity;

  accepts(camera, step) {
    if (camera < this.#camera || (camera === this.#camera && step > this.#step)) return false;
    this.#camera = camera;
    this.#step = step;
    return true;
  }
}
