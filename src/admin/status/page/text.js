// Elements, and numbers, times and lists as text. What the gateway sends is only ever set as text, and
// a field that is missing or of another type shows as a dash: an older gateway does not have it.

const $ = (id) => document.getElementById(id);
const DASH = "–";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const money = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const cents = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 4 });

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

// The objects of a list; none if it is no list.
const objects = (value) => (Array.isArray(value) ? value.filter(isObject) : []);

// A text; empty if it is none.
const textOf = (value) => (typeof value === "string" ? value : isNumber(value) ? String(value) : "");

// A number; 0 if it is none.
const numberOf = (value) => (isNumber(value) ? value : 0);

const count = (value) => (isNumber(value) ? whole.format(value) : DASH);
const short = (value) => (!isNumber(value) ? DASH : Math.abs(value) < 10000 ? whole.format(value) : compact.format(value));
const usd = (value) => (!isNumber(value) ? DASH : value !== 0 && Math.abs(value) < 0.1 ? cents.format(value) : money.format(value));
const percent = (share) => (isNumber(share) ? `${(100 * share).toFixed(share > 0 && share < 0.995 ? 1 : 0)} %` : DASH);
const plural = (number, noun) => `${count(number)} ${number === 1 ? noun : noun.endsWith("y") ? `${noun.slice(0, -1)}ies` : `${noun}s`}`;

// A length of time, in milliseconds.
function length(ms) {
  if (!isNumber(ms)) return DASH;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 2 * 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${(seconds / 3600).toFixed(1)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

// The time that is left, from seconds.
function rest(seconds) {
  if (seconds < 600) return `${Math.ceil(seconds)} s`;
  if (seconds < 3600) return `${Math.ceil(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${(seconds / 3600).toFixed(1).replace(/\.0$/, "")} h`;
  return `${Math.ceil(seconds / 86400)} days`;
}

// A moment as `Date`, from seconds since 1970 or from RFC 3339; undefined if it is neither.
function moment(value) {
  const date = isNumber(value) ? new Date(value * 1000) : typeof value === "string" ? new Date(value) : undefined;
  return date && !Number.isNaN(date.getTime()) ? date : undefined;
}

const two = (number) => String(number).padStart(2, "0");

// The local time of day of a moment, with the day if that is not today.
function clock(value) {
  const date = moment(value);
  if (!date) return DASH;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return date.toDateString() === new Date().toDateString() ? time : `${day} ${time}`;
}

// Sets a text only if it is another, so that nothing is read out or drawn twice.
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// A button that copies a text. Its label says for a moment whether that worked.
function copyButton(text, what) {
  const button = make("button", { type: "button", className: "copy", textContent: "Copy" });
  button.setAttribute("aria-label", `Copy ${what}`);
  button.addEventListener("click", async () => {
    say(button, (await copy(text)) ? "Copied" : "Not copied");
    setTimeout(() => say(button, "Copy"), 1500);
  });
  return button;
}

// The clipboard needs a secure origin. On others a selected field is copied.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const focused = document.activeElement;
    const field = make("textarea", { value: text, className: "unseen" });
    document.body.append(field);
    field.select();
    const isCopied = document.execCommand("copy");
    field.remove();
    focused?.focus();
    return isCopied;
  }
}

// An id of a request with its copy button; nothing without an id.
function requestId(id) {
  const text = textOf(id);
  if (text === "") return [];
  return [make("code", { className: "id", textContent: text }), " ", copyButton(text, `request id ${text}`)];
}

// A cell of a table. On a phone each row is a card, and its cells have their column's name before them.
function cell(column, content, className = "") {
  const element = make("td", { className });
  element.setAttribute("role", "cell");
  element.dataset.column = column;
  element.append(...(Array.isArray(content) ? content : [content]));
  return element;
}

function rowHead(...content) {
  const element = make("th", { scope: "row" }, ...content);
  element.setAttribute("role", "rowheader");
  return element;
}

function tableRow(...cells) {
  const element = make("tr", {}, ...cells);
  element.setAttribute("role", "row");
  return element;
}

// Replaces the rows of a table, or the items of a list, if what they show has changed. The focus stays
// where it was, and so does a button that says for a moment what it did.
function fill(body, shown, build) {
  const text = JSON.stringify(shown);
  if (body.dataset.shown === text) return;
  if (body.contains(document.activeElement) && body.dataset.shown !== undefined) {
    const place = [...body.querySelectorAll("button")].indexOf(document.activeElement);
    replace(body, shown, build, text);
    body.querySelectorAll("button")[place]?.focus();
    return;
  }
  replace(body, shown, build, text);
}

function replace(body, shown, build, text) {
  body.dataset.shown = text;
  body.replaceChildren(...shown.map(build));
}

function emptyRow(width, text) {
  const only = make("td", { colSpan: width, className: "empty", textContent: text });
  only.setAttribute("role", "cell");
  return tableRow(only);
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
