// Shared by all scripts: data, state, element constructors, number formatting, tooltip.
let data = JSON.parse(document.getElementById("data").textContent); // --watch replaces it
const byId = (id) => document.getElementById(id);
const part = (selector) => document.querySelector(selector);
const ABSENT = "–";

// State of the page. `metric`: index of a metric; `chosen`, `shown`: indices of runs; `rows`: of the table of settings.
// Until the user chooses them (null), the metric is that of the ranking and the curves are the first four.
const state = {
  metric: 0, metricName: null, chosen: new Set(), shown: data.runs.map((_, i) => i), sort: null, rows: 15,
  series: null, band: data.settings.some((setting) => setting.runs.length > 1) ? "range" : "runs",
  x: "step", log: false, smooth: 0, everyKey: false,
};

// The curves of a name, parsed when they are drawn.
const parsed = new Map();
function parseOnce(key, text) {
  if (!parsed.has(key)) parsed.set(key, JSON.parse(text));
  return parsed.get(key);
}
const curvesOf = (name) => parseOnce(name, data.curves.parts[data.curves.names.indexOf(name)]);
const stepsAt = (place) => parseOnce("", data.curves.steps)[place];
const shownCurves = () => state.series ?? new Set(data.curves.names.slice(0, 4));

function make(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function draw(tag, options = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(options)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function number(value) {
  if (value === null || value === undefined) return ABSENT;
  const size = Math.abs(value);
  return value === 0 || (size >= 1e-3 && size < 100) ? value.toFixed(4) : String(Number(value.toPrecision(4)));
}

const short = (value) => String(Number(value.toPrecision(4)));
const spread = (stats) => (stats ? number(stats.mean) + (stats.std === null ? "" : ` ± ${number(stats.std)}`) : ABSENT);

function duration(seconds) {
  if (seconds === null) return ABSENT;
  const two = (n) => String(n).padStart(2, "0"), s = Math.round(seconds);
  return s < 3600 ? `${Math.floor(s / 60)}:${two(s % 60)}` : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

// Short name of a run, such as `sgd, step, seed 0`, for tooltips and headers.
function label(i) {
  const values = data.columns.map((column, c) => [column, data.runs[i].values[c]])
    .filter(([column, value]) => value !== null && !(data.crowded && value === column.usual));
  const bare = (value) => /^([-\d.]|null$|true$|false$|\[)/.test(value); // meaningless without its key
  return values.map(([column, value]) => (bare(value) ? `${column.key.split(".").at(-1)} ${value}` : value)).join(", ") || data.runs[i].name;
}

// Indices of the settings, best first by the selected metric.
function ranked() {
  const { greater } = data.metrics[state.metric];
  const mean = (s) => data.settings[s].stats[state.metric]?.mean;
  const order = data.settings.map((_, s) => s);
  const worse = (s) => (mean(s) === undefined ? 2 : data.settings[s].comparable ? 0 : 1);
  return order.sort((a, b) => worse(a) - worse(b) || ((mean(a) ?? 0) - (mean(b) ?? 0)) * (greater === false ? 1 : -1) || a - b);
}

// Color and dashes of the settings of the selected runs, or else of the best settings.
function styles() {
  const kept = new Set([...state.chosen].map((i) => data.runs[i].setting));
  const shown = new Set(state.shown.map((i) => data.runs[i].setting));
  const colors = data.colors[document.documentElement.dataset.theme], n = colors.length;
  const order = ranked().filter((s) => (kept.size ? kept.has(s) : shown.has(s))).slice(0, kept.size ? 4 * n : n);
  const dashes = [[], [7, 3], [2, 3], [9, 3, 2, 3]];
  return new Map(order.map((s, k) => [s, { color: colors[k % n], dash: dashes[Math.floor(k / n) % 4] }]));
}

function swatch(style) {
  const mark = make("span", { class: "swatch" });
  if (style) mark.style.borderTopColor = style.color;
  if (style?.dash.length) mark.style.borderTopStyle = style.dash[0] > 3 ? "dashed" : "dotted";
  return mark;
}

function tip(text, x, y) {
  const box = byId("tip");
  box.hidden = !text;
  if (!text) return;
  box.textContent = text;
  const { width, height } = box.getBoundingClientRect();
  box.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 8))}px`;
  box.style.top = `${y + 16 + height > innerHeight ? Math.max(4, y - height - 10) : y + 16}px`;
}

// Show a tooltip for elements with data-tip.
document.addEventListener("pointermove", (event) => {
  const found = event.target.closest?.("[data-tip]");
  if (found) tip(found.dataset.tip, event.clientX, event.clientY);
  else if (event.target.tagName !== "CANVAS") tip("");
});

// Ticks at 1, 2 or 5 times a power of ten, or at the powers themselves.
function ticks(low, high, about, log) {
  if (log) {
    const made = [];
    const from = Math.ceil(Math.log10(low) - 1e-9), to = Math.floor(Math.log10(high) + 1e-9);
    for (let e = from, by = Math.max(1, Math.ceil((to - from) / about)); e <= to; e += by) made.push(10 ** e);
    return made.length > 1 ? made : [low, high];
  }
  const rough = (high - low) / about || 1, power = 10 ** Math.floor(Math.log10(rough));
  const by = [1, 2, 5, 10].find((m) => m * power >= rough) * power, made = [];
  for (let v = Math.ceil(low / by - 1e-9) * by; v <= high + by * 1e-6; v += by) made.push(Number(v.toPrecision(12)));
  return made;
}
