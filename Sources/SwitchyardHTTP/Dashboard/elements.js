// The elements and the words of the dashboard. An element is changed in place, so that focus and selection stay.
// All text is set through textContent, so nothing from a task is ever interpreted as HTML.
"use strict";

const states = ["pending", "assigned", "running", "completed", "failed", "timeout", "cancelled"];
const stateClass = {
  pending: "", assigned: "busy", running: "busy", completed: "good", failed: "bad", timeout: "bad", cancelled: "warn",
  lost: "bad", returned: "warn", healthy: "good", degraded: "warn", unhealthy: "bad", idle: "good", draining: "warn",
  cordoned: "warn",
};

// MARK: Elements

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined && text !== null) made.textContent = text;
  return made;
}

// Changes only what differs, so that a selection in the text stays.
function setText(node, text) {
  const value = text === undefined || text === null ? "" : String(text);
  if (node.textContent !== value) node.textContent = value;
}

function setClass(node, className) {
  if (node.className !== className) node.className = className;
}

function setCell(made, text, className = "", title = "") {
  setText(made, text);
  setClass(made, className);
  if (made.title !== (title || "")) made.title = title || "";
}

function setPill(made, text, kind = stateClass[text] || "") {
  setText(made, text);
  setClass(made, `pill ${kind}`);
}

// Makes the children of `parent` those of `items`, in order. A child with the same key stays the same element, so that
// focus and selection stay too.
function keep(parent, items, key, make, update) {
  const focused = document.activeElement;
  const old = new Map(Array.from(parent.children, (child) => [child.dataset.key, child]));
  const keys = new Set(items.map(key));
  for (const [name, child] of old) if (!keys.has(name)) child.remove();
  let at = parent.firstElementChild;
  for (const item of items) {
    let child = old.get(key(item));
    if (!child) {
      child = make(item);
      child.dataset.key = key(item);
    }
    update(child, item);
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
  // An element that moved has lost its focus.
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

function cells(row, count) {
  for (let index = 0; index < count; index += 1) row.append(element("td"));
  return row;
}

// MARK: Words

function duration(seconds) {
  if (seconds < 0.0005) return "0 s";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

const between = (from, to) => (from ? duration((to ? new Date(to) : new Date()) / 1000 - new Date(from) / 1000) : "");
const ago = (time) => (time ? `${between(time)} ago` : "");
const clock = (time) => (time ? new Date(time).toLocaleString() : "");

// An argument vector as a person would type it.
const quoted = (word) =>
  (/^[\p{Alphabetic}0-9\-_./:=,+@%]+$/u.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
const commandLine = (words) => words.map(quoted).join(" ");

function summary(task) {
  if (task.target) return [task.repo, task.target].filter(Boolean).join(" ");
  if (task.command) return commandLine(task.command);
  return task.repo || (task.payload === undefined ? "" : JSON.stringify(task.payload));
}

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
