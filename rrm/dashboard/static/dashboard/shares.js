// The table of sites and their nodes: who did how much, how fast.

import { el, mark, replace } from "./dom.js";
import { milliseconds, whole } from "./format.js";

export function drawShares(body, record) {
  const sites = record.bySite();
  if (sites.length === 0) {
    const why = record.job.recolor_of ? "No node rendered anything: another job's values were coloured anew." : "No tile is finished yet.";
    replace(body, el("tr", {}, el("td", { colspan: 4, class: "empty" }, why)));
    return;
  }
  replace(body, ...sites.flatMap((site) => [siteRow(site, record.tiles), ...site.nodes.map((node) => nodeRow(node, record.tiles))]));
}

const siteRow = (site, all) => row("site", [mark(site.color), site.site], site, all);
const nodeRow = (node, all) => row("node", [el("span", { title: node.hostname }, node.name)], node, all);

function row(kind, name, sums, all) {
  return el(
    "tr",
    { class: kind },
    el("th", { scope: "row" }, ...name),
    el("td", { class: "n" }, whole(sums.tiles)),
    el("td", { class: "n" }, `${((100 * sums.tiles) / all).toFixed(0)} %`),
    el("td", { class: "n" }, sums.tiles ? milliseconds(sums.ms / sums.tiles) : "–"),
  );
}
