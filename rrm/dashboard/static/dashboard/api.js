// The REST API of the same server, with the login session.

export const config = Object.freeze(JSON.parse(document.getElementById("rrm-config").textContent));

/** A refusal of the API: `status`, `title`, `detail`, `code`, `retryAfter` in seconds, `errors` as {"dotted.field": [messages]}, and all `facts` of the answer. */
export class Problem extends Error {
  constructor(status, body, retryAfter = null) {
    super(body.detail || body.title || `The server answered ${status}.`);
    this.status = status;
    this.retryAfter = retryAfter;
    this.title = body.title || this.message;
    this.code = body.code ?? "";
    this.errors = flatten(body.errors ?? {});
    this.facts = body;
  }
}

/** Nested error objects as one level with dotted names. */
export function flatten(errors, prefix = "") {
  const flat = {};
  for (const [name, value] of Object.entries(errors)) {
    const path = prefix ? `${prefix}.${name}` : name;
    if (Array.isArray(value) && value.every((item) => typeof item !== "object")) flat[path] = value.map(String);
    else if (value !== null && typeof value === "object") Object.assign(flat, flatten(value, path));
    else flat[path] = [String(value)];
  }
  return flat;
}

export const at = (path) => config.api + path;

function token() {
  const start = `${config.csrf_cookie}=`;
  const cookie = document.cookie.split("; ").find((item) => item.startsWith(start));
  return cookie ? decodeURIComponent(cookie.slice(start.length)) : "";
}

let skew = 0;

/** Seconds since the epoch by the server's clock. */
export const serverNow = () => Date.now() / 1000 + skew;

function watchClock(response) {
  const lag = Date.parse(response.headers.get("Date") ?? "") / 1000 - Date.now() / 1000;
  // The header counts whole seconds: a smaller difference says nothing.
  if (Number.isFinite(lag)) skew = Math.abs(lag) > 2 ? lag : 0;
}

async function problemOf(response) {
  const body = await response.json().catch(() => ({}));
  return new Problem(response.status, body ?? {}, Number(response.headers.get("Retry-After")) || null);
}

/** The response of one request; raises `Problem` for a refusal, and goes to the login page when the session has ended. */
export async function request(method, path, { body, headers = {}, signal } = {}) {
  const init = { method, signal, credentials: "same-origin", headers: { Accept: "application/json", ...headers } };
  if (method !== "GET") init.headers["X-CSRFToken"] = token();
  if (body !== undefined) {
    init.headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  const response = await fetch(at(path), init);
  watchClock(response);
  if (response.ok) return response;
  if (response.status === 401) window.location.assign(`/login/?next=${encodeURIComponent(window.location.pathname + window.location.search)}`);
  throw await problemOf(response);
}

export const getJson = async (path, options) => (await request("GET", path, options)).json();
export const getBytes = async (path, options) => (await request("GET", path, { headers: { Accept: "*/*" }, ...options })).arrayBuffer();

export async function post(path, body, headers) {
  const response = await request("POST", path, { body, headers });
  return response.status === 204 ? null : response.json().catch(() => null);
}

export const remove = (path) => request("DELETE", path);

/** Every item of a list, page after page. */
export async function getAll(path) {
  const items = [];
  let page = await getJson(path);
  for (;;) {
    if (Array.isArray(page)) return page;
    items.push(...page.results);
    if (!page.next) return items;
    page = await getJson(new URL(page.next, window.location.href).href.split(config.api)[1]);
  }
}
