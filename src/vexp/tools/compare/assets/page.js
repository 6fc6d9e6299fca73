// User interaction (metric, filter, selection, theme) and initialization.
function choose(runs, on) {
  for (const i of runs) state.chosen[on ? "add" : "delete"](i);
  showSelected();
  const focused = document.activeElement?.getAttribute("aria-label");
  showSettings(); showRuns(); showCharts(); showConfig();
  if (focused) [...document.querySelectorAll("[aria-label]")].find((node) => node.getAttribute("aria-label") === focused)?.focus({ preventScroll: true });
}

function showSelected() {
  const clear = byId("clear");
  clear.hidden = !state.chosen.size;
  clear.textContent = `${state.chosen.size} selected: clear`;
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
  showSettings(); showEffects(); showRuns(); showCharts(); showConfig(); showConfusion(); showVideos();
}

function tools() {
  const toggles = data.curves.names.map((name) => make("button", { type: "button", "aria-pressed": String(shownCurves().has(name)), onclick: (event) => {
    state.series = new Set(shownCurves());
    if (!state.series.delete(name)) state.series.add(name);
    event.currentTarget.setAttribute("aria-pressed", String(state.series.has(name)));
    showCharts();
  } }, name));
  const pick = (name, options) => make("select", { onchange: (event) => { state[name] = name === "smooth" ? Number(event.target.value) : event.target.value; showCharts(); } },
    ...options.map(([value, text]) => make("option", { value, selected: String(state[name]) === String(value) }, text)));
  part("#curves .tools").replaceChildren(make("div", { class: "set", role: "group", "aria-label": "curves" }, ...toggles),
    make("label", {}, "lines ", pick("band", [["range", "mean, lowest to highest"], ["std", "mean ± std"], ["runs", "every run"]])),
    make("label", {}, "x axis ", pick("x", [["step", "steps"], ["epoch", "epochs"]])),
    make("label", {}, "smoothing ", pick("smooth", [[0, "off"], [0.6, "light"], [0.9, "strong"]])),
    make("label", {}, make("input", { type: "checkbox", checked: state.log, onchange: (event) => { state.log = event.target.checked; showCharts(); } }), "logarithmic"));
  if (data.curves.limit) part("#curves .tools").append(make("span", { class: "quiet" }, `long curves are thinned to ${data.curves.limit} points, keeping the extremes of runs`));
  part("#config .tools").replaceChildren(make("label", {}, make("input", { type: "checkbox", checked: state.everyKey, onchange: (event) => { state.everyKey = event.target.checked; showConfig(); } }), "all keys"));
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

function showTexts() {
  byId("title").textContent = data.title;
  byId("conclusion").replaceChildren(...data.conclusion.map((line) => make("span", {}, line)));
  byId("explanation").textContent = data.explanation;
  document.title = `vexp: ${data.title}`;
  byId("notes").hidden = !data.notes.length;
  part("#notes summary").textContent = `${data.notes.length} note${data.notes.length === 1 ? "" : "s"} about these results`;
  part("#notes ul").replaceChildren(...data.notes.map((note) => make("li", {}, note)));
  byId("metric").replaceChildren(...data.metrics.map((metric, m) => make("option", { value: m, selected: m === state.metric }, metric.name)));
}

function init() {
  showTexts();
  byId("metric").addEventListener("change", (event) => {
    state.metric = Number(event.target.value);
    state.metricName = data.metrics[state.metric].name;
    state.sort = null;
    showAll();
  });
  byId("filter").addEventListener("input", () => { filter(); showRuns(); showCharts(); });
  byId("clear").addEventListener("click", () => choose([...state.chosen], false));
  part("#settings .more").addEventListener("click", () => { state.rows = state.rows >= data.settings.length ? 15 : state.rows + 100; showSettings(); });
  part("#runs .scroll").addEventListener("scroll", () => requestAnimationFrame(() => drawRows(false)), { passive: true });
  addEventListener("resize", () => { for (const chart of charts) chart.paint(); drawRows(false); });
  addEventListener("beforeprint", () => { for (const chart of charts) { chart.isNear = true; chart.paint(); } });
  addEventListener("scroll", () => tip(""), { passive: true });
  tools(); filter(); theme(); watchForRefresh();
}

init();
