// User interaction (metric, filter, selection, theme) and initialization.
function choose(runs, on) {
  for (const i of runs) state.chosen[on ? "add" : "delete"](i);
  const clear = byId("clear");
  clear.hidden = !state.chosen.size;
  clear.textContent = `${state.chosen.size} selected: clear`;
  const focused = document.activeElement?.getAttribute("aria-label");
  showSettings(); showRuns(); showCharts(); showConfig();
  if (focused) [...document.querySelectorAll("[aria-label]")].find((node) => node.getAttribute("aria-label") === focused)?.focus({ preventScroll: true });
}

// Predicate of one filter term, such as `sgd`, `lr=step` or `top1_acc>0.9`; a key may be abbreviated to its end.
function predicate(term) {
  const [, key, sign, wanted] = /^([\w./]+)(=|>|<)(.+)$/.exec(term) ?? [];
  const ends = (name) => name === key || name.endsWith(`.${key}`) || name.endsWith(`/${key}`) || name.startsWith(key);
  const c = data.columns.findIndex((column) => key && ends(column.key)), m = data.metrics.findIndex((metric) => key && ends(metric.name));
  const value = (run) => (c >= 0 ? run.values[c] : run.scores[m]);
  if (c >= 0 || m >= 0) {
    if (sign === "=") return (run) => String(value(run)).toLowerCase() === wanted.toLowerCase();
    return (run) => value(run) !== null && (sign === ">" ? Number(value(run)) > Number(wanted) : Number(value(run)) < Number(wanted));
  }
  return (run) => [run.name, run.status, ...run.flags, ...run.values].join(" ").toLowerCase().includes(term.toLowerCase());
}

function filter() {
  const predicates = byId("filter").value.split(/\s+/).filter(Boolean).map(predicate);
  state.shown = data.runs.flatMap((run, i) => (predicates.every((holds) => holds(run)) ? [i] : []));
  byId("count").textContent = `${state.shown.length} of ${data.runs.length} runs`;
}

function showAll() {
  showSettings(); showEffects(); showRuns(); showCharts(); showConfig(); showConfusion();
}

function tools() {
  const toggles = data.curves.names.map((name) => make("button", { type: "button", "aria-pressed": String(state.series.has(name)), onclick: (event) => {
    if (!state.series.delete(name)) state.series.add(name);
    event.currentTarget.setAttribute("aria-pressed", String(state.series.has(name)));
    showCharts();
  } }, name));
  const pick = (options, set) => make("select", { onchange: (event) => { set(event.target.value); showCharts(); } }, ...options.map(([value, text]) => make("option", { value }, text)));
  part("#curves .tools").append(make("div", { class: "set", role: "group", "aria-label": "curves" }, ...toggles),
    make("label", {}, "x axis ", pick([["step", "steps"], ["epoch", "epochs"]], (value) => { state.x = value; })),
    make("label", {}, "smoothing ", pick([[0, "off"], [0.6, "light"], [0.9, "strong"]], (value) => { state.smooth = Number(value); })),
    make("label", {}, make("input", { type: "checkbox", onchange: (event) => { state.log = event.target.checked; showCharts(); } }), "logarithmic"));
  if (data.curves.limit) part("#curves .tools").append(make("span", { class: "quiet" }, `long curves are thinned to ${data.curves.limit} points, keeping extremes`));
  part("#config .tools").append(make("label", {}, make("input", { type: "checkbox", onchange: (event) => { state.everyKey = event.target.checked; showConfig(); } }), "all keys"));
}

function theme() {
  const system = matchMedia("(prefers-color-scheme: dark)"), names = ["auto", "light", "dark"];
  let chosen = "auto";
  const apply = () => {
    document.documentElement.dataset.theme = chosen === "auto" ? (system.matches ? "dark" : "light") : chosen;
    byId("theme").textContent = `theme: ${chosen}`;
    showAll();
  };
  byId("theme").addEventListener("click", () => { chosen = names[(names.indexOf(chosen) + 1) % 3]; apply(); });
  system.addEventListener("change", apply);
  apply();
}

function init() {
  byId("title").textContent = data.title;
  byId("conclusion").append(...data.conclusion.map((line) => make("span", {}, line)));
  byId("explanation").textContent = data.explanation;
  document.title = `vexp: ${data.title}`;
  if (data.notes.length) {
    byId("notes").hidden = false;
    part("#notes summary").textContent = `${data.notes.length} note${data.notes.length === 1 ? "" : "s"} about these results`;
    part("#notes ul").append(...data.notes.map((note) => make("li", {}, note)));
  }
  byId("metric").append(...data.metrics.map((metric, m) => make("option", { value: m }, metric.name)));
  byId("metric").addEventListener("change", (event) => { state.metric = Number(event.target.value); state.sort = null; showAll(); });
  byId("filter").addEventListener("input", () => { filter(); showRuns(); showCharts(); });
  byId("clear").addEventListener("click", () => choose([...state.chosen], false));
  part("#settings .more").addEventListener("click", () => { state.all = !state.all; showSettings(); });
  addEventListener("resize", () => { for (const chart of charts) chart.paint(); });
  addEventListener("scroll", () => tip(""), { passive: true });
  tools(); filter(); theme();
}

init();
