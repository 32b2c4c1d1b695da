// The API's refusals, each beside the input that it is about.

import { el } from "./dom.js";

const summaryOf = (form) => form.querySelector("[role=alert]");

/** The field group for a dotted error name: its own, else that of its nearest parent. */
function groupFor(form, name) {
  for (let path = name; path; path = path.includes(".") ? path.slice(0, path.lastIndexOf(".")) : "") {
    const group = form.querySelector(`[data-fields~="${CSS.escape(path)}"]`);
    if (group) return group;
  }
  return null;
}

export function clearErrors(form) {
  for (const message of form.querySelectorAll(".error")) message.remove();
  for (const input of form.querySelectorAll("[aria-invalid]")) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-describedby");
  }
  summaryOf(form).hidden = true;
}

export function showProblem(form, problem) {
  const homeless = Object.entries(problem.errors).filter(([name, messages]) => !placed(form, name, messages));
  const summary = summaryOf(form);
  summary.hidden = false;
  // The detail says once more what stands beside the fields.
  const headline = Object.keys(problem.errors).length > 0 ? problem.title : problem.message;
  summary.replaceChildren(el("p", {}, headline), ...homeless.map(([name, messages]) => el("p", {}, `${name}: ${messages.join(" ")}`)));
  (form.querySelector("[aria-invalid]") ?? summary).focus();
}

function placed(form, name, messages) {
  const group = groupFor(form, name);
  if (group === null || group.hidden) return false;
  const id = `error-${name.replaceAll(".", "-")}`;
  group.append(el("p", { class: "error", id }, messages.join(" ")));
  group.closest("details")?.setAttribute("open", "");
  for (const input of group.querySelectorAll("input, select")) {
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-describedby", id);
  }
  return true;
}
