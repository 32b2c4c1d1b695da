// Tiles per second over time, stacked by site or by node.

import { el, mark, replace, safeColor, svg } from "./dom.js";
import { plural, short } from "./format.js";

const BOX = { width: 320, height: 132, left: 34, right: 6, top: 10, bottom: 20 };
const BINS = 48;
const STEPS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];

const niceStep = (span) => STEPS.find((step) => span / step <= BINS) ?? Math.ceil(span / BINS / 3600) * 3600;

/** A round number no smaller than `value`: 1, 2 or 5 times a power of ten. */
export function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((factor) => factor * power >= value * 0.999) * power;
}

/** Shades of a site's colour, so that its nodes can be told apart. */
function shade(color, index) {
  const amount = [0, 0.35, -0.3, 0.6, -0.5][index % 5];
  const channels = [1, 3, 5].map((start) => parseInt(safeColor(color).slice(start, start + 2), 16));
  const mixed = channels.map((value) => Math.round(amount >= 0 ? value + (255 - value) * amount : value * (1 + amount)));
  return `#${mixed.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

function groupsOf(record, by) {
  const sites = record.bySite();
  if (by === "site") return sites.map((site) => ({ key: site.site, label: site.site, color: site.color, tiles: site.tiles }));
  return sites.flatMap((site) =>
    site.nodes.map((node, index) => ({ key: node.node, label: node.name, color: shade(site.color, index), tiles: node.tiles })),
  );
}

/** Rates of each group in each bin: a range counts evenly over the time it took. */
export function ratesOf(record, groups, by, now) {
  const leases = record.leases.filter((lease) => lease.kept > 0 && lease.to >= lease.from);
  if (leases.length === 0) return null;
  const start = Math.min(...leases.map((lease) => lease.from));
  const end = Math.max(...leases.map((lease) => lease.to), record.finished ? 0 : now);
  const step = niceStep(Math.max(0.1, end - start));
  const count = Math.max(1, Math.ceil((end - start) / step));
  const rates = new Map(groups.map((group) => [group.key, new Float64Array(count)]));
  for (const lease of leases) spread(rates.get(by === "site" ? lease.site : lease.node), lease, start, step);
  return { rates, step, count, span: count * step };
}

function spread(row, lease, start, step) {
  const from = lease.from - start;
  const to = Math.max(lease.to - start, from + 0.001);
  const rate = lease.kept / (to - from);
  for (let bin = Math.floor(from / step); bin < row.length && bin * step < to; bin += 1) {
    const share = Math.min(to, (bin + 1) * step) - Math.max(from, bin * step);
    row[bin] += (rate * Math.max(0, share)) / step;
  }
}

export function drawThroughput(host, record, by, now) {
  const groups = record ? groupsOf(record, by) : [];
  const data = groups.length ? ratesOf(record, groups, by, now) : null;
  if (data === null) {
    replace(host, el("p", { class: "empty" }, "Rates appear with the first finished tiles."));
    return;
  }
  const totals = Array.from({ length: data.count }, (_, bin) => groups.reduce((sum, group) => sum + data.rates.get(group.key)[bin], 0));
  const peak = ceiling(Math.max(...totals, 0.1));
  const picture = svg("svg", { viewBox: `0 0 ${BOX.width} ${BOX.height}`, role: "img", "aria-label": summary(groups, totals) });
  picture.append(...grid(peak, data.span), ...areas(groups, data, peak));
  replace(host, picture, legend(groups));
}

function summary(groups, totals) {
  const parts = groups.map((group) => `${group.label} ${plural(group.tiles, "tile")}`);
  return `Throughput, at most ${short(Math.max(...totals))} tiles per second: ${parts.join(", ")}`;
}

function scales(peak, span) {
  const width = BOX.width - BOX.left - BOX.right;
  const height = BOX.height - BOX.top - BOX.bottom;
  return { x: (seconds) => BOX.left + (seconds / span) * width, y: (rate) => BOX.top + height - (rate / peak) * height };
}

function grid(peak, span) {
  const { x, y } = scales(peak, span);
  const lines = [0, 0.5, 1].flatMap((part) => [
    svg("line", { class: "rule", x1: x(0), x2: x(span), y1: y(part * peak), y2: y(part * peak) }),
    svg("text", { class: "axis end", x: BOX.left - 5, y: y(part * peak) + 3 }, trimmed(part * peak)),
  ]);
  const times = [0, 0.5, 1].map((part) =>
    svg("text", { class: `axis ${["start", "middle", "end"][part * 2]}`, x: x(part * span), y: BOX.height - 6 }, part === 0 ? "0 s" : axisTime(part * span)),
  );
  return [...lines, ...times];
}

const trimmed = (value) => String(Number(value.toPrecision(3)));
const axisTime = (seconds) => (seconds < 120 ? `${trimmed(seconds)} s` : `${trimmed(seconds / 60)} min`);

function areas(groups, data, peak) {
  const { x, y } = scales(peak, data.span);
  const floor = new Float64Array(data.count);
  return groups.map((group) => {
    const row = data.rates.get(group.key);
    const top = [];
    const bottom = [];
    for (let bin = 0; bin < data.count; bin += 1) {
      const [left, right] = [x(bin * data.step), x((bin + 1) * data.step)];
      const [low, high] = [y(floor[bin]), y(floor[bin] + row[bin])];
      top.push(`${left.toFixed(2)},${high.toFixed(2)} ${right.toFixed(2)},${high.toFixed(2)}`);
      bottom.unshift(`${right.toFixed(2)},${low.toFixed(2)} ${left.toFixed(2)},${low.toFixed(2)}`);
      floor[bin] += row[bin];
    }
    return svg("polygon", { class: "area", points: [...top, ...bottom].join(" "), fill: safeColor(group.color) }, svg("title", {}, group.label));
  });
}

function legend(groups) {
  return el("ul", { class: "legend" }, ...groups.map((group) => el("li", {}, mark(group.color), group.label)));
}
