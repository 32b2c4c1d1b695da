// The WebSocket to the session's node: cameras out, frames in, and another try when it breaks.

import { readFrame } from "./frames.js";

const FIRST_RETRY_MS = 300;
const LAST_RETRY_MS = 8000;
const STEADY_MS = 3000; // a connection that lasted so long was a good one
const FULL_BYTES = 65536;

/**
 * Hooks: `frame(header, bitmap)`, in the order of frames; `refused({error, camera, errors})`; `up()` when cameras can be
 * sent; `down(tries)` when the connection broke, before it is tried again.
 */
export class FrameSocket {
  #address;
  #hooks;
  #socket = null;
  #timer = 0;
  #retry = FIRST_RETRY_MS;
  #tries = 0;
  #opened = 0;
  #closed = false;
  #last = 0;

  constructor(address, hooks) {
    this.#address = address;
    this.#hooks = hooks;
    this.#connect();
  }

  get isUp() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Send a camera; false when it cannot be sent at present. */
  send(camera) {
    if (!this.isUp || this.#socket.bufferedAmount > FULL_BYTES) return false;
    this.#socket.send(JSON.stringify(camera));
    return true;
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket?.close();
  }

  #connect() {
    const socket = new WebSocket(this.#address);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#last = 0;
    socket.onopen = () => {
      this.#opened = performance.now();
      if (!this.#closed) this.#hooks.up();
    };
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.#hooks.refused(JSON.parse(data)) : this.#receive(socket, data));
    socket.onclose = () => this.#lost(socket);
  }

  /** Decoding takes a while, and the next frame is asked for only afterwards: so there are never more than can be shown. */
  async #receive(socket, data) {
    const { header, image } = readFrame(data);
    let bitmap = null;
    try {
      bitmap = await createImageBitmap(image);
    } catch {
      // a broken picture: the next one will do
    }
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ ack: header.frame }));
    if (!bitmap || this.#closed || socket !== this.#socket || header.frame < this.#last) {
      bitmap?.close();
      return;
    }
    this.#last = header.frame;
    this.#hooks.frame(header, bitmap);
  }

  #lost(socket) {
    if (this.#closed || socket !== this.#socket) return;
    if (this.#opened && performance.now() - this.#opened > STEADY_MS) {
      this.#retry = FIRST_RETRY_MS;
      this.#tries = 0;
    }
    this.#opened = 0;
    this.#tries += 1;
    this.#hooks.down(this.#tries);
    if (this.#closed) return;
    this.#timer = setTimeout(() => this.#connect(), this.#retry * (0.75 + Math.random() / 2));
    this.#retry = Math.min(LAST_RETRY_MS, this.#retry * 2);
  }
}
