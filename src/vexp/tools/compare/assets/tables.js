// Tables of settings, effects and configs, the confusion matrix, and videos.
function interval(values) {
  const low = Math.min(...values), high = Math.max(...values), room = (high - low) * 0.06 || Math.abs(high) * 0.05 || 1;
  return [low - room, high + room];
}

function header(text, options = {}) {
  return make("th", { scope: "col", ...options }, text);
}

function showSettings() {
  const m = state.metric, order = ranked(), look = styles();
  const shown = order.slice(0, state.rows);
  const keys = data.columns.filter((column) => !column.over).map((column) => column.key);
  const scored = data.runs.flatMap((run) => (run.scores[m] === null ? [] : [run.scores[m]]));
  const bars = shown.flatMap((s) => { const stats = data.settings[s].stats[m]; return stats ? [stats.mean - (stats.std ?? 0), stats.mean + (stats.std ?? 0)] : []; });
  const [low, high] = interval(shown.flatMap((s) => data.settings[s].used.map((i) => data.runs[i].scores[m])).filter((v) => v !== null).concat(bars, scored.length ? [] : [0]));
  const x = (v) => 6 + ((v - low) / (high - low)) * 198;
  const axis = draw("svg", { width: 210, height: 16 }, ...ticks(low, high, 3).map((v) => draw("text", { x: x(v), y: 12, "text-anchor": "middle" }, short(v))));
  const others = data.metrics.map((_, k) => k).filter((k) => k !== m);
  const head = make("tr", {}, header(make("span", { class: "dim" }, "select")), header("#"), ...resultsFirst(keys.map((key) => header(key)), [header("runs", { class: "number" }),
    header(data.metrics[m].name, { class: "number" }), header(axis, { title: `${data.metrics[m].name} of each run; the bar is mean ± std` })]),
    ...others.map((k) => header(data.metrics[k].name, { class: "number" })));
  const rows = shown.map((s, place) => settingRow(s, place, look.get(s), x, others));
  part("#settings table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
  const more = part("#settings .more");
  more.hidden = order.length <= 15;
  more.textContent = state.rows >= order.length ? "show the first 15" : `show ${Math.min(100, order.length - state.rows)} more of ${order.length}`;
}

// Of many keys most are outside the window, so the results come before them.
const resultsFirst = (keys, [runs, mean, plot]) => (data.crowded ? [mean, plot, runs, ...keys] : [...keys, runs, mean, plot]);

function settingRow(s, rank, style, x, others) {
  const setting = data.settings[s], stats = setting.stats[state.metric];
  const all = setting.runs.every((i) => state.chosen.has(i));
  const box = make("input", { type: "checkbox", checked: all, "aria-label": `choose the runs of ${setting.name}`, onchange: () => choose(setting.runs, !all) });
  const remarks = [...setting.left_out, ...(setting.comparable || !setting.used.length ? [] : ["not comparable"])].join(", ");
  const leads = rank === 0 && stats && setting.comparable;
  return make("tr", { class: `${all ? "chosen" : ""} ${setting.comparable ? "" : "out"}` },
    make("td", {}, box, " ", swatch(style)), make("td", { class: "dim" }, String(rank + 1)),
    ...resultsFirst(setting.values.map((value) => make("td", { class: "value", title: value ?? "this setting does not have the key" }, value ?? ABSENT)), [
      make("td", { class: "number" }, remarks ? make("span", { class: "badge warn" }, remarks) : "", ` ${setting.used.length} of ${setting.runs.length}`),
      make("td", { class: `number${leads ? " best" : ""}` }, spread(stats)),
      make("td", {}, strip(setting, stats, style, x))]),
    ...others.map((k) => make("td", { class: "number dim" }, spread(setting.stats[k]))));
}

function strip(setting, stats, style, x) {
  const color = style ? style.color : "var(--grey)", plot = draw("svg", { width: 210, height: 22, role: "img", "aria-label": spread(stats) });
  plot.append(draw("line", { x1: 0, x2: 210, y1: 11, y2: 11, stroke: "var(--faint)" }));
  if (stats) {
    const half = stats.std ?? 0;
    plot.append(draw("line", { x1: x(stats.mean - half), x2: x(stats.mean + half), y1: 11, y2: 11, stroke: color, "stroke-width": 7, "stroke-opacity": 0.28, "stroke-linecap": "round" }),
      draw("line", { x1: x(stats.mean), x2: x(stats.mean), y1: 3, y2: 19, stroke: "var(--ink)", "stroke-width": 2 }));
  }
  const scored = setting.used.map((i) => [i, data.runs[i].scores[state.metric]]).filter(([, value]) => value !== null).sort((a, b) => a[1] - b[1]);
  let before = -99, lane = 0;
  for (const [i, value] of scored) { // place overlapping dots above and below the line
    lane = x(value) - before < 7 ? (lane + 1) % 3 : 0;
    before = x(value);
    plot.append(draw("circle", { cx: x(value), cy: [11, 6, 16][lane], r: 3.6, fill: color, stroke: "var(--card)", "data-tip": `${label(i)}\n${data.metrics[state.metric].name} ${number(value)}` }));
  }
  return plot;
}

function showEffects() {
  const effects = data.effects[state.metric], noise = data.noise[state.metric];
  part("#effects").hidden = part("nav a[href='#effects']").hidden = !effects.length;
  part("#effects > .quiet").textContent = noise === null
    ? "No setting was repeated, so the noise is unknown: run some settings with other seeds."
    : `Runs of one setting differ by ${number(noise)} (pooled standard deviation over repetitions): differences of this size between single runs are noise.`;
  part("#effects .cards").replaceChildren(...effects.map(effectCard));
}

function effectCard(effect) {
  const numeric = effect.levels.every((level) => level.value.trim() !== "" && Number.isFinite(Number(level.value)));
  const body = effect.scattered && numeric ? scatter(effect.key) : levelTable(effect);
  const size = effect.spread === null ? "" : `largest difference ${number(effect.spread)}`;
  return make("div", { class: "card" }, make("h3", {}, effect.key, make("small", {}, size)), body,
    make("p", { class: effect.crossed || effect.scattered ? "" : "warn" }, effect.statement));
}

function levelTable(effect) {
  const value = (level) => level.matched ?? level.mean;
  const { greater } = data.metrics[state.metric];
  const [low, high] = interval(effect.levels.flatMap((level) => [level.mean, value(level)]));
  const best = (greater === false ? Math.min : Math.max)(...effect.levels.map(value));
  const at = (v) => `${((v - low) / (high - low)) * 100}%`;
  const rows = effect.levels.map((level) => {
    const plot = draw("svg", { width: "100%", height: 18 }, draw("line", { x1: 0, x2: "100%", y1: 9, y2: 9, stroke: "var(--faint)" }));
    const text = `${effect.key}=${level.value}\nmean ${number(level.mean)} of ${level.runs} runs in ${level.cells} cells` + (level.matched === null ? "" : `, matched ${number(level.matched)}`);
    if (level.matched !== null && !effect.balanced) plot.append(draw("circle", { cx: at(level.mean), cy: 9, r: 3.5, fill: "none", stroke: "var(--quiet)" }));
    plot.append(draw("circle", { cx: at(value(level)), cy: 9, r: 5, fill: "var(--accent)", "data-tip": text }));
    return make("tr", {}, make("td", { title: level.value }, level.value), make("td", { class: "plot" }, plot),
      make("td", { class: `number${greater !== null && value(level) === best ? " best" : ""}` }, number(value(level))),
      make("td", { class: "number dim" }, `${level.runs} run${level.runs === 1 ? "" : "s"}`));
  });
  return make("table", {}, make("tbody", {}, ...rows));
}

// Scatter plot of a key with many numeric values, as in a random search.
function scatter(key) {
  const c = data.columns.findIndex((column) => column.key === key), m = state.metric;
  const points = data.runs.map((run, i) => [Number(run.values[c] ?? NaN), run.scores[m], i])
    .filter(([v, score, i]) => Number.isFinite(v) && score !== null && data.runs[i].status === "done" && !data.runs[i].flags.length);
  const xs = points.map(([v]) => v), log = Math.min(...xs) > 0 && Math.max(...xs) / Math.min(...xs) > 30, f = log ? Math.log10 : (v) => v;
  const [left, right] = interval(xs.map(f)), [low, high] = interval(points.map(([, score]) => score));
  const x = (v) => 44 + ((f(v) - left) / (right - left)) * 266, y = (v) => 120 - ((v - low) / (high - low)) * 112;
  const plot = draw("svg", { viewBox: "0 0 314 142", width: "100%", role: "img", "aria-label": `${data.metrics[m].name} over ${key}` });
  for (const v of ticks(low, high, 4)) plot.append(draw("line", { x1: 44, x2: 310, y1: y(v), y2: y(v), stroke: "var(--faint)" }), draw("text", { x: 38, y: y(v) + 4, "text-anchor": "end" }, short(v)));
  for (const v of ticks(Math.min(...xs), Math.max(...xs), 4, log)) plot.append(draw("text", { x: x(v), y: 137, "text-anchor": "middle" }, short(v)));
  for (const [v, score, i] of points) plot.append(draw("circle", { cx: x(v), cy: y(score), r: 3, fill: "var(--accent)", "fill-opacity": 0.55, "data-tip": `${label(i)}\n${data.metrics[m].name} ${number(score)}` }));
  return plot;
}

function showConfig() {
  const limit = 10, { common, varying, aside, values, rows } = data.config;
  const leaders = ranked().slice(0, 2).map((s) => data.settings[s].runs[0]);
  const runs = (state.chosen.size ? [...state.chosen] : leaders).slice(0, limit);
  part("#config h2 small").textContent = state.chosen.size > limit ? `the first ${limit} of ${state.chosen.size} selected runs` : state.chosen.size ? "of the selected runs" : "of the first two settings; select runs above for others";
  const of = new Map(varying.map((key, k) => [key, runs.map((i) => values[rows[i][k]])]));
  const differing = varying.filter((key) => !aside.includes(key) && new Set(of.get(key)).size > 1);
  const keys = (state.everyKey ? [...Object.keys(common), ...varying] : differing).sort();
  const body = keys.map((key) => {
    const cells = of.get(key) ?? runs.map(() => common[key]);
    return make("tr", {}, make("th", { scope: "row" }, key), ...cells.map((value) => make("td", { class: `value${value !== cells[0] && (state.everyKey || cells.length > 2) ? " differs" : ""}${value === null ? " dim" : ""}`, title: value ?? "not in this config" }, value ?? ABSENT)));
  });
  const look = styles();
  const head = make("tr", {}, header("key"), ...runs.map((i) => make("th", { scope: "col", class: "value" }, swatch(look.get(data.runs[i].setting)), " ", make("a", { href: data.runs[i].href, title: data.runs[i].name }, label(i)))));
  part("#config table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
  if (!keys.length) part("#config tbody").append(make("tr", {}, make("td", { colSpan: runs.length + 1 }, "no difference")));
}

function showConfusion() {
  const confusion = data.confusion;
  part("#confusion").hidden = !confusion;
  part("nav a[href='#confusion']").hidden = !confusion;
  if (!confusion) return;
  const { classes, cells } = confusion, n = classes.length, size = Math.max(6, Math.min(46, Math.floor(620 / n)));
  const totals = new Array(n).fill(0);
  for (const [label, , count] of cells) totals[label] += count;
  part("#confusion h2 small").textContent = `of the best run, ${label(confusion.run)}${confusion.note ? `; ${confusion.note}` : ""}; rows are labels, columns predictions`;
  const named = n <= 40, room = named ? Math.min(190, Math.max(...classes.map((name) => name.length)) * 6.4 + 14) : 24;
  const plot = draw("svg", { width: room + n * size + 90, height: room + n * size + 8, role: "img", "aria-label": "confusion matrix; the most frequent confusions are listed beside it" });
  plot.append(draw("rect", { x: room, y: room, width: n * size, height: n * size, fill: "var(--faint)" }));
  for (const [row, column, count] of cells) {
    const share = count / totals[row], text = `${classes[row]} predicted as ${classes[column]}`;
    plot.append(draw("rect", { x: room + column * size, y: room + row * size, width: size - (size > 12), height: size - (size > 12), fill: row === column ? "var(--accent)" : "#D55E00", "fill-opacity": 0.12 + 0.88 * share, "data-tip": `${row === column ? `${classes[row]} predicted correctly` : text}\n${count} of ${totals[row]} videos, ${(share * 100).toFixed(0)} %` }));
    if (size >= 18) plot.append(draw("text", { x: room + (column + 0.5) * size, y: room + (row + 0.5) * size + 4, "text-anchor": "middle", "pointer-events": "none", style: `fill: ${share > 0.55 ? "var(--card)" : "var(--ink)"}` }, String(count)));
  }
  const cut = (name) => (name.length > 27 ? `${name.slice(0, 26)}…` : name);
  for (const [k, name] of named ? classes.entries() : []) {
    plot.append(draw("text", { x: room - 7, y: room + (k + 0.5) * size + 4, "text-anchor": "end" }, cut(name)),
      draw("text", { transform: `translate(${room + (k + 0.5) * size + 3} ${room - 7}) rotate(-55)` }, cut(name)));
  }
  const worst = cells.filter(([row, column]) => row !== column).sort((a, b) => b[2] - a[2] || b[2] / totals[b[0]] - a[2] / totals[a[0]]).slice(0, 12);
  const rows = worst.map(([row, column, count]) => make("tr", {}, make("td", { class: "value" }, classes[row]), make("td", { class: "value" }, classes[column]), make("td", { class: "number" }, `${count} of ${totals[row]}`)));
  const list = make("table", {}, make("thead", {}, make("tr", {}, header("label"), header("predicted as"), header("videos", { class: "number" }))), make("tbody", {}, ...rows));
  part("#confusion .pair").replaceChildren(make("div", { class: "scroll" }, plot), worst.length ? list : make("p", {}, "No video was classified incorrectly."));
}

function showVideos() {
  const { videos } = data;
  part("#videos").hidden = part("nav a[href='#videos']").hidden = !videos;
  if (!videos) return;
  part("#videos h2 small").textContent = `with the highest and the lowest ${videos.measure || "score"}, of the best run, ${label(videos.run)}${videos.evaluation ? `; ${videos.evaluation}` : ""}`;
  part("#videos > .quiet").textContent = videos.note;
  const group = (title, list) => (list.length ? [make("h3", {}, title), make("div", { class: "videos" }, ...list.map(figure))] : []);
  part("#videos .rows").replaceChildren(...group("Best", videos.best), ...group("Worst", videos.worst));
}

function figure(video) {
  const score = video.is_listed ? short(video.score) : "not among its top five";
  const frames = video.frames.map((src, k) => make("img", { src, alt: `frame ${k + 1} of ${video.path}` }));
  return make("figure", {}, make("div", { class: "strip" }, ...(frames.length ? frames : [make("p", {}, `not shown: ${video.missing}`)])),
    make("figcaption", {}, `${video.label}: ${score}`, make("span", {}, video.detail ? video.detail : video.correct ? "predicted correctly" : `predicted as ${video.predicted} (${short(video.top_score)})`), make("span", {}, video.path)));
}
