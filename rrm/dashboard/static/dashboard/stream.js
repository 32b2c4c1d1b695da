// Server-sent events that survive everything: lost connections, restarts of the server, and hidden pages.

import { at } from "./api.js";

const HIDDEN_MS = 15000;
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 15000;

/**
 * One subscription. `handlers` maps event names to functions of the parsed data; `onopen` and `ondown` tell of the connection.
 * A browser holds six connections to a server, so a hidden page gives its stream back and resumes by the last id when shown.
 */
export class Stream {
  #path;
  #handlers;
  #notices;
  #source = null;
  #last = "";
  #retry = FIRST_RETRY_MS;
  #timer = 0;
  #closed = false;

  constructor(path, handlers, { onopen = () => {}, ondown = () => {} } = {}) {
    this.#path = path;
    this.#handlers = handlers;
    this.#notices = { onopen, ondown };
    document.addEventListener("visibilitychange", this.#visibility);
    this.#connect();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.#visibility);
    this.#source?.close();
  }

  #connect() {
    const query = this.#last ? `?last_event_id=${encodeURIComponent(this.#last)}` : "";
    const source = new EventSource(at(this.#path) + query);
    this.#source = source;
    source.onopen = () => {
      this.#retry = FIRST_RETRY_MS;
      this.#notices.onopen();
    };
    source.onerror = () => this.#failed(source);
    for (const name of Object.keys(this.#handlers)) source.addEventListener(name, (event) => this.#receive(name, event));
  }

  #receive(name, event) {
    if (this.#closed) return;
    if (event.lastEventId) this.#last = event.lastEventId;
    this.#handlers[name](event.data ? JSON.parse(event.data) : {}, event.lastEventId);
  }

  #failed(source) {
    if (this.#closed || source !== this.#source) return;
    this.#notices.ondown();
    // The browser reconnects by itself unless the answer was an error: then it gives up, and we do not.
    if (source.readyState !== EventSource.CLOSED) return;
    this.#later(this.#retry);
    this.#retry = Math.min(LAST_RETRY_MS, this.#retry * 2);
  }

  #later(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), delay);
  }

  #visibility = () => {
    clearTimeout(this.#timer);
    if (document.hidden) this.#timer = setTimeout(() => this.#rest(), HIDDEN_MS);
    else if (this.#source === null || this.#source.readyState === EventSource.CLOSED) this.#connect();
  };

  #rest() {
    this.#source?.close();
    this.#source = null;
  }
}
