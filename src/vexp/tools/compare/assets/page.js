// What the reader does: metric, filter, choice, theme; and the first showing.
function choose(runs, on) {
  for (const i of runs) state.chosen[on ? "add" : "delete"](i);
  const clear = byId("clear");
  clear.hidden = !state.chosen.size;
  clear.textContent = `${state.chosen.size} chosen: clear`;
  const held = document.activeElement?.getAttribute("aria-label");
  showSettings(); showRuns(); showCharts(); showConfig();
  if (held) [...document.querySelectorAll("[aria-label]")].find((node) => node.getAttribute("aria-label") === held)?.focus({ preventScroll: true });
}

// `sgd lr=step top1_acc>0.9`: every word must fit; a key may be the end of one.
function fits(word) {
  const [, key, sign, wanted] = /^([\w./]+)(=|>|<)(.+)$/.exec(word) ?? [];
  const ends = (name) => name === key || name.endsWith(`.${key}`) || name.endsWith(`/${key}`) || name.startsWith(key);
  const c = data.columns.findIndex((column) => key && ends(column.key)), m = data.metrics.findIndex((metric) => key && ends(metric.name));
  const value = (run) => (c >= 0 ? run.values[c] : run.scores[m]);
  if (c >= 0 || m >= 0) {
    if (sign === "=") return (run) => String(value(run)).toLowerCase() === wanted.toLowerCase();
    return (run) => value(run) !== null && (sign === ">" ? Number(value(run)) > Number(wanted) : Number(value(run)) < Number(wanted));
  }
  return (run) => [run.name, run.status, ...run.flags, ...run.values].join(" ").toLowerCase().includes(word.toLowerCase());
}

function filter() {
  const words = byId("filter").value.split(/\s+/).filter(Boolean).map(fits);
  state.shown = data.runs.flatMap((run, i) => (words.every((word) => word(run)) ? [i] : []));
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
    make("label", {}, "over ", pick([["step", "steps"], ["epoch", "epochs"]], (value) => { state.x = value; })),
    make("label", {}, "smooth training ", pick([[0, "no"], [0.6, "some"], [0.9, "much"]], (value) => { state.smooth = Number(value); })),
    make("label", {}, make("input", { type: "checkbox", onchange: (event) => { state.log = event.target.checked; showCharts(); } }), "logarithmic"));
  if (data.curves.most) part("#curves .tools").append(make("span", { class: "quiet" }, `long curves are thinned to ${data.curves.most} points, extremes kept`));
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

function begin() {
  byId("title").textContent = data.title;
  byId("verdict").append(...data.verdict.map((line) => make("span", {}, line)));
  byId("explanation").textContent = data.explanation;
  document.title = `vexp: ${data.title}`;
  if (data.notes.length) {
    byId("notes").hidden = false;
    part("#notes summary").textContent = `${data.notes.length} note${data.notes.length === 1 ? "" : "s"} on what stands behind these numbers`;
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

begin();
