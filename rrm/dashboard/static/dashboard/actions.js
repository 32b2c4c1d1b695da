// What one may do with a job in its state.

import { post, remove } from "./api.js";
import { el } from "./dom.js";
import { jobName } from "./format.js";

const POSSIBLE = {
  QUEUED: ["pause", "cancel"],
  RUNNING: ["pause", "cancel"],
  PAUSED: ["resume", "cancel"],
  COMPOSING: [],
  COMPLETED: ["delete"],
  FAILED: ["retry", "delete"],
  CANCELLED: ["retry", "delete"],
};

const act = (action, id) => (action === "delete" ? remove(`job/${id}/`) : post(`job/${id}/${action}`));

/** Buttons for the job; `done(action)` after success, `failed(error)` else. Cancel and delete ask by a second press. */
export function actionButtons(job, done, failed) {
  return (POSSIBLE[job.state] ?? []).map((action) => {
    const button = el("button", { type: "button", class: "small", "data-action": action, "aria-label": `${action} ${jobName(job)}` }, label(action));
    button.addEventListener("click", async () => {
      if (["cancel", "delete"].includes(action) && !armed(button, action)) return;
      button.disabled = true;
      try {
        await act(action, job.id);
        done(action);
      } catch (error) {
        button.disabled = false;
        failed(error);
      }
    });
    return button;
  });
}

const label = (action) => action[0].toUpperCase() + action.slice(1);

function armed(button, action) {
  if (button.dataset.armed) return true;
  button.dataset.armed = "yes";
  button.textContent = `Really ${action}?`;
  setTimeout(() => {
    delete button.dataset.armed;
    button.textContent = label(action);
  }, 3000);
  return false;
}
