// Who worked on what, when: one row for each node, one bar for each range.

import { el, replace, safeColor, svg } from "./dom.js";
import { duration, instant, milliseconds, plural } from "./format.js";
import { ceiling } from "./throughput.js";

const ROW = 22;
const BAR = 14;
const LABEL = 130;
const LEAST_WIDTH = 520;
const FOOT = 24;

/** Rows [{node, site, color, bars}] in the order in which the nodes came in. */
function rowsOf(leases, now) {
  const rows = new Map();
  for (const lease of leases) {
    const from = instant(lease.started_at);
    const to = lease.finished_at ? instant(lease.finished_at) : now;
    if (!rows.has(lease.node)) rows.set(lease.node, { name: lease.node_name, site: lease.site, bars: [] });
    rows.get(lease.node).bars.push({ ...lease, from, to: Math.max(to, from) });
  }
  for (const row of rows.values()) queued(row.bars);
  return [...rows.values()];
}

// A node has its next range in hand before it finishes the last: work on it begins when the last is delivered.
function queued(bars) {
  bars.sort((a, b) => a.to - b.to);
  bars.forEach((bar, index) => {
    bar.begin = index > 0 ? Math.min(bar.to, Math.max(bar.from, bars[index - 1].to)) : bar.from;
  });
}

export function drawGantt(host, leases, now) {
  const rows = rowsOf(leases, now);
  if (rows.length === 0) {
    replace(host, el("p", { class: "empty" }, "No range has been handed out yet."));
    return;
  }
  const bars = rows.flatMap((row) => row.bars);
  const start = Math.min(...bars.map((bar) => bar.from));
  const span = Math.max(0.1, Math.max(...bars.map((bar) => bar.to)) - start);
  const height = rows.length * ROW + FOOT;
  const width = Math.max(LEAST_WIDTH, host.clientWidth);
  const x = (time) => LABEL + ((time - start) / span) * (width - LABEL - 24);
  const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${plural(bars.length, "range")} on ${plural(rows.length, "node")} in ${duration(span)}` });
  picture.append(hatching(), ...ticks(start, span, x, height), ...rows.flatMap((row, index) => drawRow(row, index, x, start)));
  replace(host, picture);
}

function hatching() {
  const pattern = svg("pattern", { id: "hatch", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  pattern.append(svg("line", { class: "hatch", x1: 0, x2: 0, y1: 0, y2: 5 }));
  return svg("defs", {}, pattern);
}

function ticks(start, span, x, height) {
  const step = ceiling(span / 6);
  const marks = [];
  for (let time = 0; time <= span; time += step) {
    const at = x(start + time);
    marks.push(svg("line", { class: "rule", x1: at, x2: at, y1: 0, y2: height - FOOT }));
    marks.push(svg("text", { class: "axis middle", x: at, y: height - 8 }, `${Number(time.toPrecision(3))} s`));
  }
  return marks;
}

function drawRow(row, index, x, start) {
  const top = index * ROW + (ROW - BAR) / 2;
  const label = svg("text", { class: "axis name", x: 0, y: top + BAR - 3 }, row.name);
  return [label, ...row.bars.map((bar) => drawBar(bar, top, x, start))];
}

function drawBar(bar, top, x, start) {
  const left = x(bar.begin);
  const shape = { x: left, y: top, width: Math.max(1.5, x(bar.to) - left - 0.5), height: BAR, rx: 1.5 };
  const group = svg("g", { class: `bar ${bar.state.toLowerCase()}${bar.copy ? " copy" : ""}` }, svg("title", {}, described(bar, start)), svg("rect", { ...shape, fill: safeColor(bar.color) }));
  if (bar.state === "RETURNED") group.append(svg("rect", { ...shape, fill: "url(#hatch)" }));
  return group;
}

function described(bar, start) {
  const last = bar.stop - 1;
  const tiles = bar.start === last ? `tile ${last}` : `tiles ${bar.start}–${last}`;
  const parts = [`${tiles} on ${bar.node_name}, ${bar.site}`, `handed out at ${(bar.from - start).toFixed(2)} s, back at ${(bar.to - start).toFixed(2)} s`];
  if (bar.copy) parts.push("a copy: another node had these tiles, and took long");
  if (bar.state === "DONE") parts.push(`${milliseconds(bar.render_ms)} of rendering`, bar.warm ? "model was warm" : "model was loaded");
  else parts.push(bar.state.toLowerCase(), bar.reason || "");
  return parts.filter(Boolean).join("\n");
}
