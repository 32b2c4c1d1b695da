// Fetching finished ranges, a few at a time.

import { getBytes, Problem } from "./api.js";
import { parseBundle } from "./bundle.js";

const IN_FLIGHT = 4;
const ATTEMPTS = 5;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Fetches each lease's bundle once and hands it to `deliver(bundle, lease)`, which may be asynchronous; `missing(lease)` tells of one that is gone. */
export class RangeLoader {
  #job;
  #deliver;
  #missing;
  #queue = [];
  #busy = 0;
  #abort = new AbortController();

  constructor(job, deliver, missing) {
    this.#job = job;
    this.#deliver = deliver;
    this.#missing = missing;
  }

  add(lease) {
    this.#queue.push(lease);
    this.#next();
  }

  stop() {
    this.#queue.length = 0;
    this.#abort.abort();
  }

  #next() {
    while (this.#busy < IN_FLIGHT && this.#queue.length > 0) {
      this.#busy += 1;
      this.#load(this.#queue.shift()).finally(() => {
        this.#busy -= 1;
        this.#next();
      });
    }
  }

  async #load(lease) {
    const { signal } = this.#abort;
    for (let attempt = 1; !signal.aborted; attempt += 1) {
      try {
        const bytes = await getBytes(`job/${this.#job}/range/${lease.lease}`, { signal });
        if (!signal.aborted) await this.#deliver(parseBundle(bytes), lease);
        return;
      } catch (error) {
        if (signal.aborted) return;
        const refused = error instanceof RangeError || (error instanceof Problem && error.status < 500);
        if (refused || attempt === ATTEMPTS) {
          this.#missing(lease, error);
          return;
        }
        await pause(200 * 2 ** attempt);
      }
    }
  }
}
