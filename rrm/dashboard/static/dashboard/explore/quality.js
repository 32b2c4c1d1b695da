// How many pixels a camera asks for: those of the screen, or fewer while frames would come too slowly.

const SLOW = 12; // frames a second
const FAST = 24;
const LEAST = 120_000;
const MOST = 4096 * 4096;
const LEAST_SIDE = 16;
const LONGEST_SIDE = 8192;

/** Pixels at rest by setting; `auto` gives fewer while the view moves. */
export const SETTINGS = { auto: 2_600_000, sharp: MOST, balanced: 1_000_000, light: 300_000 };

/** Width and height for a canvas of so many device pixels, with the same shape and at most `budget` of them. */
export function cameraSize(width, height, budget) {
  const share = Math.min(1, Math.sqrt(budget / (width * height)));
  return [width, height].map((side) => Math.min(LONGEST_SIDE, Math.max(LEAST_SIDE, Math.round(side * share))));
}

/** Learns from the frames that came while the view moved. */
export class Budget {
  #moving = SETTINGS.auto;
  setting = "auto";

  get atRest() {
    return SETTINGS[this.setting];
  }

  get inMotion() {
    return this.setting === "auto" ? this.#moving : this.atRest;
  }

  /** So many frames a second came during a while of movement. */
  learn(rate) {
    if (rate < SLOW) this.#moving *= 0.6;
    else if (rate > FAST) this.#moving *= 1.4;
    this.#moving = Math.min(SETTINGS.auto, Math.max(LEAST, this.#moving));
  }
}
