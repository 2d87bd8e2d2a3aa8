// The dashboard requests the public API every two seconds while its page is visible, and shows the replies.
// elements.js, which is loaded before, makes and changes the elements.
"use strict";

const REFRESH_MS = 2000;
// The end of a task's output that is shown; all of it is at /scheduler/task/<id>/log.
const MAX_LOG_CHARACTERS = 200000;
const MAX_TASKS = 50;
// The tasks of each queue take requests of their own. A page may be short or empty and still have a next one.
const MAX_QUEUES = 8;
const MAX_PAGES = 10;

const byID = (id) => document.getElementById(id);
const view = { queue: "", state: "", open: null, timer: 0 };

// MARK: Asking

async function ask(path) {
  const response = await fetch(path, { headers: { Accept: "application/json" }, cache: "no-store" });
  const reply = await response.json();
  if (!response.ok && reply.code) throw new Error(reply.message);
  return reply;
}

function address(path, parameters) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== ""));
  return query.size ? `${path}?${query}` : path;
}

// MARK: Showing

function showHealth(health) {
  setPill(byID("health"), health.status);
  keep(byID("reasons"), health.reasons, (reason) => reason.code || reason.message, () => element("li"),
    (item, reason) => setText(item, reason.message));
}

function showQueues(stats) {
  const select = byID("queue");
  const names = Object.keys(stats.queues);
  const paused = names.filter((name) => stats.queues[name].paused && (!view.queue || view.queue === name));
  keep(select, ["", ...names], (name) => name, (name) => {
    const option = element("option");
    option.value = name;
    return option;
  }, (option, name) => setText(option, name === "" ? "all" : stats.queues[name].paused ? `${name} (paused)` : name));
  if (select.value !== view.queue) select.value = view.queue;
  byID("paused").hidden = paused.length === 0;
  setText(byID("paused"), view.queue || names.length === 1 ? "paused" : `paused: ${paused.join(", ")}`);
}

function showNumbers(stats) {
  const ended = (count, kind) => (count > 0 ? kind : "");
  const oldest = stats.oldest_pending_seconds;
  const numbers = [
    ["pending", stats.pending_tasks, ""],
    ["assigned", stats.assigned_tasks, ""],
    ["running", stats.running_tasks, stats.running_tasks > 0 ? "busy" : ""],
    ["completed", stats.completed_tasks, ended(stats.completed_tasks, "good")],
    ["failed", stats.failed_tasks, ended(stats.failed_tasks, "bad")],
    ["timed out", stats.timeout_tasks, ended(stats.timeout_tasks, "bad")],
    ["cancelled", stats.cancelled_tasks, ended(stats.cancelled_tasks, "warn")],
    ["oldest waits", oldest > 0 ? duration(oldest) : "–", ""],
    ["workers idle", `${stats.idle_workers}/${stats.total_workers}`, stats.total_workers === 0 ? "warn" : ""],
    ...(stats.draining_workers > 0 ? [["workers draining", stats.draining_workers, "warn"]] : []),
    ["refused: full", stats.queue_full_errors, ended(stats.queue_full_errors, "warn")],
  ];
  keep(byID("numbers"), numbers, ([name]) => name, ([name]) => {
    const card = element("div");
    card.append(element("strong"), element("span", "", name));
    return card;
  }, (card, [, value, kind]) => {
    setClass(card, `number-card ${kind}`);
    setText(card.firstChild, typeof value === "number" ? value.toLocaleString() : value);
  });
}

function showPriorities(stats) {
  const most = Math.max(1, ...Object.values(stats.by_priority));
  keep(byID("priorities"), Object.entries(stats.by_priority), ([name]) => name, ([name]) => {
    const line = element("div", "bar");
    line.append(element("span", "", name), element("progress", name), element("span", "number"));
    return line;
  }, (line, [name, count]) => {
    const bar = line.children[1];
    bar.max = most;
    bar.value = count;
    bar.setAttribute("aria-label", `${name}: ${count}`);
    setText(line.lastChild, count.toLocaleString());
  });
}

function makeWorker() {
  const card = element("div", "worker");
  const head = element("div", "worker-head");
  head.append(element("span", "worker-name"), element("span", "pill"));
  card.append(head, element("div", "slots"), element("small"), element("small"));
  return card;
}

function updateWorker(card, worker) {
  const [head, slots, taken, facts] = card.children;
  setCell(head.firstChild, worker.worker_id, "worker-name", worker.worker_id);
  setPill(head.lastChild, worker.state, worker.state === "busy" ? "busy" : stateClass[worker.state]);
  keep(slots, Array.from({ length: Math.min(worker.slots, 64) }, (_, slot) => slot), String, () => element("span"),
    (square, slot) => setClass(square, slot < worker.busy_slots ? "slot taken" : "slot"));
  setText(taken, `${worker.busy_slots} of ${worker.slots} ${worker.slots === 1 ? "slot" : "slots"} taken`);
  const text = [worker.queue, worker.host, ...worker.labels].filter(Boolean).join(" · ");
  setCell(facts, text, "", text);
}

function showWorkers(workers) {
  byID("no-workers").hidden = workers.length > 0;
  keep(byID("workers"), workers, (worker) => `${worker.queue}/${worker.worker_id}`, makeWorker, updateWorker);
}

function makeRow() {
  const row = cells(element("tr"), 9);
  const link = element("button", "link");
  link.type = "button";
  row.children[0].append(link);
  row.children[1].append(element("span", "pill"), element("span", "hold"));
  row.addEventListener("click", () => {
    // A click that ends a selection of text opens nothing.
    if (String(window.getSelection()) === "") openTask(row.task.task_id, row.task.queue);
  });
  return row;
}

function updateRow(row, task) {
  row.task = task;
  const [id, state, priority, what, attempt, ran, worker, submitted, note] = row.children;
  setText(id.firstChild, task.task_id);
  id.title = task.task_id;
  setPill(state.firstChild, task.state);
  setText(state.lastChild, task.held_by ? ` ${task.held_by.replaceAll("_", " ")}` : task.ending ? " ending" : "");
  setCell(priority, task.priority, "wide", task.priority_reason);
  setCell(what, summary(task), "", summary(task));
  setCell(attempt, task.attempt || "", "number wide");
  setCell(ran, between(task.started_at, task.finished_at), "number wide");
  setCell(worker, task.worker, "wide", task.worker);
  setCell(submitted, ago(task.submitted_at), "wide", clock(task.submitted_at));
  const error = task.error ? `${task.error.code}: ${task.error.message}` : "";
  const text = task.reason ? task.reason.message : error;
  setCell(note, text, task.reason ? "reason" : "error", text);
}

// What an empty list says. The numbers count ended tasks that were deleted since; the list does not have them.
function emptyText(stats, isCut) {
  if (!view.state) return isCut ? "No task was found yet; there are more pages." : "";
  const word = view.state === "timeout" ? "timed out" : view.state;
  if (isCut) return `No ${word} task was found among the first ones; choose a queue to look further.`;
  const count = stats[`${view.state}_tasks`] || 0;
  const hasEnded = states.indexOf(view.state) > 2;
  if (count > 0 && hasEnded) {
    return `No ${word} task is kept: the ${count.toLocaleString()} counted above were deleted since.`;
  }
  return `No ${word} task.`;
}

function showTasks(tasks, stats, isCut) {
  const text = emptyText(stats, isCut);
  byID("no-tasks").hidden = tasks.length > 0 || text !== "";
  byID("no-such-tasks").hidden = tasks.length > 0 || text === "";
  setText(byID("no-such-tasks"), text);
  keep(byID("tasks"), tasks, (task) => `${task.queue}/${task.task_id}`, makeRow, updateRow);
}

// MARK: One task

function showDetails(task) {
  byID("details-title").textContent = task.task_id;
  const held = task.held_by && task.held_by.replaceAll("_", " ");
  setPill(byID("details-state"), held ? `${task.state} (${held})` : task.state, stateClass[task.state] || "");
  const facts = [
    ["Waits", task.reason && task.reason.message], ["Queue", task.queue], ["Repository", task.repo],
    ["Target", task.target], ["Arguments", task.args && commandLine(task.args)],
    ["Command", task.command && commandLine(task.command)], ["Directory", task.cwd], ["Change", task.mr],
    ["Labels", task.labels && task.labels.join(", ")], ["Priority", `${task.priority} — ${task.priority_reason}`],
    ["Batch", task.batch_id],
    ["Position in line", task.queue_position === undefined ? undefined : task.queue_position + 1],
    ["Retries", `${task.retry_count} of ${task.max_retries}`], ["Time limit", duration(task.timeout_seconds)],
    ["Submitted", clock(task.submitted_at)], ["Due", clock(task.due_at)], ["Started", clock(task.started_at)],
    ["Finished", clock(task.finished_at)], ["Worker", task.worker], ["Progress", task.progress && shown(task.progress)],
    ["Payload", task.payload === undefined ? undefined : shown(task.payload)],
    ["Result", task.result === null ? undefined : shown(task.result)],
    ["Error", task.error && `${task.error.code}: ${task.error.message}`],
  ];
  const known = facts.filter(([, value]) => value !== undefined && value !== null && value !== "");
  keep(byID("details-facts"), known, ([name]) => name, ([name]) => {
    const line = element("div", "fact");
    line.append(element("dt", "", name), element("dd"));
    return line;
  }, (line, [, value]) => setText(line.lastChild, value));
  const attempts = task.attempts.slice().reverse();
  byID("details-attempts-part").hidden = attempts.length === 0;
  keep(byID("details-attempts"), attempts, (attempt) => String(attempt.attempt), () => {
    const row = cells(element("tr"), 7);
    row.children[4].append(element("span", "pill"));
    return row;
  }, (row, attempt) => {
    const [number, worker, started, ran, outcome, exit, failure] = row.children;
    setCell(number, attempt.attempt, "number");
    setCell(worker, attempt.worker, "", attempt.worker);
    setCell(started, clock(attempt.started_at || attempt.assigned_at), "wide");
    setCell(ran, between(attempt.started_at, attempt.finished_at), "number");
    setPill(outcome.firstChild, attempt.outcome || task.state);
    setCell(exit, attempt.exit_code, "number");
    const error = attempt.error ? `${attempt.error.code}: ${attempt.error.message}` : "";
    setCell(failure, error, "error", error);
  });
}

// Returns an entry's output, after a mark if output before it is missing.
function logText(entry) {
  const mark = entry.missing_bytes ? `\n[switchyard: ${entry.missing_bytes} bytes of output are missing here]\n` : "";
  return mark + entry.data;
}

async function loadLog(open) {
  const path = address(`/scheduler/task/${encodeURIComponent(open.id)}/log`,
    { queue: open.queue, format: "json", limit: 1000, after: open.cursor });
  const page = await ask(path);
  if (view.open !== open || page.entries.length === 0) return;
  open.cursor = page.entries[page.entries.length - 1].id;
  const pre = byID("details-log");
  const isAtEnd = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 8;
  open.log = (open.log + page.entries.map(logText).join("")).slice(-MAX_LOG_CHARACTERS);
  pre.textContent = open.log;
  if (isAtEnd) pre.scrollTop = pre.scrollHeight;
}

async function refreshDetails() {
  const open = view.open;
  // Only one refresh at a time, so that no part of the log is read twice.
  if (!open || open.isLoading) return;
  open.isLoading = true;
  try {
    const task = await ask(address(`/scheduler/task/${encodeURIComponent(open.id)}`, { queue: open.queue }));
    if (view.open !== open) return;
    showDetails(task);
    await loadLog(open);
    if (view.open === open && !open.log) setText(byID("details-log"), "nothing yet");
  } catch (error) {
    if (view.open === open) setText(byID("details-log"), error.message);
  } finally {
    open.isLoading = false;
  }
}

// An open task has an address (#queue/id), so that people can share it.
function openTask(id, queue) {
  window.history.replaceState(null, "", `#${queue}/${id}`);
  view.open = { id, queue, cursor: "0", log: "" };
  byID("details-title").textContent = id;
  byID("details-log").textContent = "";
  byID("details-facts").replaceChildren();
  byID("details-attempts").replaceChildren();
  byID("details").showModal();
  refreshDetails();
}

// MARK: Refreshing

// The first tasks of one queue. Follows the pages, because one may be short or empty and still have a next one.
async function firstTasks(queue) {
  const tasks = [];
  let cursor = "";
  for (let pages = 0; pages < MAX_PAGES && tasks.length < MAX_TASKS; pages += 1) {
    const page = await ask(address("/scheduler/tasks",
      { queue, state: view.state, limit: MAX_TASKS - tasks.length, cursor }));
    tasks.push(...page.tasks);
    cursor = page.cursor || "";
    if (!cursor) break;
  }
  return { tasks, isCut: cursor !== "" };
}

// The tasks of some queues: assigned and running tasks first, then pending ones, then ended ones, latest first.
async function latestTasks(queues) {
  const pages = await Promise.all(queues.map(firstTasks));
  const rank = (task) => (task.finished_at ? 2 : task.started_at || task.assigned_at ? 0 : 1);
  const order = (task) => (task.finished_at ? -new Date(task.finished_at) : new Date(task.submitted_at) / 1);
  const tasks = pages.flatMap((page) => page.tasks);
  // Within one queue the server's order is kept: only the server knows which task is next.
  if (queues.length > 1) tasks.sort((one, other) => rank(one) - rank(other) || order(one) - order(other));
  return { tasks: tasks.slice(0, MAX_TASKS), isCut: pages.some((page) => page.isCut) };
}

async function refreshOverview() {
  try {
    const { queue, state } = view;
    const [health, all, workers] = await Promise.all([
      ask("/v2/health"), ask("/scheduler/stats"), ask(address("/scheduler/workers", { queue })),
    ]);
    const stats = queue ? await ask(address("/scheduler/stats", { queue })) : all;
    const names = queue ? [queue] : Object.keys(all.queues);
    const { tasks, isCut } = await latestTasks(names.slice(0, MAX_QUEUES));
    if (queue !== view.queue || state !== view.state) return;
    showHealth(health);
    showQueues(all);
    showNumbers(stats);
    showPriorities(stats);
    showWorkers(workers.workers);
    showTasks(tasks, stats, isCut || names.length > MAX_QUEUES);
  } catch (error) {
    showHealth({ status: "unhealthy", reasons: [{ message: error.message }] });
  }
}

// Only one refresh at a time, and none while the page is hidden.
async function tick() {
  window.clearTimeout(view.timer);
  if (document.hidden) return;
  await Promise.all([refreshOverview(), refreshDetails()]);
  window.clearTimeout(view.timer);
  view.timer = window.setTimeout(tick, REFRESH_MS);
}

function showFilters() {
  keep(byID("filters"), ["", ...states], (state) => state, (state) => {
    const button = element("button", "", state || "all");
    button.type = "button";
    button.addEventListener("click", () => {
      view.state = state;
      showFilters();
      tick();
    });
    return button;
  }, (button, state) => button.setAttribute("aria-pressed", String(view.state === state)));
}

byID("origin").textContent = window.location.origin;
byID("queue").addEventListener("change", (event) => {
  view.queue = event.target.value;
  tick();
});
byID("details-close").addEventListener("click", () => byID("details").close());
byID("details").addEventListener("close", () => {
  view.open = null;
  window.history.replaceState(null, "", window.location.pathname);
});
document.addEventListener("visibilitychange", tick);
showFilters();
const addressed = /^#([\w.:-]+)\/([\w.:-]+)$/.exec(window.location.hash);
if (addressed) openTask(addressed[2], addressed[1]);
tick();
