// What a screen reader hears: rarely, and the latest word only.

import { setText } from "./dom.js";

const QUIET_MS = 4000;
let timer = 0;
let next = "";
let last = 0;

export function announce(text, urgent = false) {
  next = text;
  clearTimeout(timer);
  const wait = urgent ? 0 : Math.max(0, last + QUIET_MS - performance.now());
  timer = setTimeout(() => {
    last = performance.now();
    setText("announce", next);
  }, wait);
}
