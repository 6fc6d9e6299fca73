// Overlaid curves, on canvas because 500 runs have 60,000 points: the mean of each setting with a band, or every run. One
// chart per metric, drawn when it is near the visible part of the page, with a common highlighted curve.
const EDGE = { left: 58, right: 18, top: 26, bottom: 30 };
const charts = [];
let hot = null; // the curve under the pointer or the arrow keys: { chart, key, k }
const nearby = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const chart = charts.find((one) => one.node === entry.target);
    if (!chart) continue;
    chart.isNear = entry.isIntersecting;
    if (chart.isNear && chart.isStale) chart.paint();
  }
}, { rootMargin: "300px" });

function smoothed(values, weight) {
  if (!weight) return values;
  let mean = 0, scale = 0; // exponential moving average with bias correction
  return values.map((v) => {
    if (v === null) return null;
    mean = weight * mean + (1 - weight) * v;
    scale = weight * scale + 1 - weight;
    return mean / scale;
  });
}

class Chart {
  constructor(name) {
    this.name = name;
    this.lines = [];
    this.isNear = false;
    this.isStale = true;
    this.back = make("canvas", { tabIndex: 0, role: "application", "aria-label": `${name} over training; arrow keys move along and between the curves` });
    this.front = make("canvas", { "aria-hidden": "true" });
    this.node = make("div", { class: "chart" }, this.back, this.front);
    this.back.addEventListener("pointermove", (event) => this.point(event));
    this.back.addEventListener("pointerleave", () => highlight(null));
    this.back.addEventListener("click", () => this.select());
    this.back.addEventListener("keydown", (event) => this.key(event));
    this.back.addEventListener("blur", () => highlight(null));
    nearby.observe(this.node);
  }

  select() {
    const line = hot && this.line(hot.key);
    if (line) choose(line.runs, !line.runs.every((i) => state.chosen.has(i)));
  }

  line(key) { return this.lines.find((line) => line.key === key); }

  // The curves in drawing order: grey ones first, the best setting last.
  prepare() {
    const look = styles(), smooth = this.name.startsWith("train/") && !this.name.endsWith("/lr") ? state.smooth : 0;
    const place = new Map([...look.keys()].map((s, k) => [s, k]));
    const rank = (line) => (line.style ? 1e6 - place.get(line.setting) : 0);
    const lines = state.band === "runs" ? this.linesOfRuns(look, smooth) : this.linesOfSettings(look, smooth);
    this.lines = lines.filter(Boolean).sort((a, b) => rank(a) - rank(b));
    this.range();
  }

  linesOfRuns(look, smooth) {
    return state.shown.map((i) => {
      const style = look.get(data.runs[i].setting), bright = state.chosen.size ? state.chosen.has(i) : Boolean(style);
      return this.lineOfRun(i, bright ? style : null, smooth);
    });
  }

  lineOfRun(i, style, smooth) {
    const curve = curvesOf(this.name).runs[i], scale = state.x === "epoch" ? data.runs[i].steps_per_epoch : 1;
    if (!curve || !scale) return null;
    return { key: `run ${i}`, runs: [i], setting: data.runs[i].setting, steps: stepsAt(curve[0]), scale, y: smoothed(curve[1], smooth), style };
  }

  // A setting with one curve is drawn as this run; any other as the mean over all of its runs, also hidden ones.
  linesOfSettings(look, smooth) {
    const curves = curvesOf(this.name);
    return [...new Set(state.shown.map((i) => data.runs[i].setting))].map((s) => {
      const { runs } = data.settings[s], curve = curves.settings[s], style = look.get(s) ?? null;
      if (!curve) return this.lineOfRun(runs.find((i) => curves.runs[i]) ?? runs[0], style, smooth);
      const [steps, mean, lowest, highest, std, count] = curve, scale = state.x === "epoch" ? data.runs[runs[0]].steps_per_epoch : 1;
      if (!scale) return null;
      const around = (sign) => mean.map((v, k) => (v === null ? null : v + sign * (std[k] ?? 0)));
      const [low, high] = state.band === "range" ? [lowest, highest] : [around(-1), around(1)];
      return { key: `setting ${s}`, runs, setting: s, steps: stepsAt(steps), scale, style, y: smoothed(mean, smooth), low: smoothed(low, smooth), high: smoothed(high, smooth), std, lowest, highest, count };
    });
  }

  // The axes include every finite point, except the highest 2 % if they are far above the others (a diverged run).
  range() {
    const usable = (v) => v !== null && (!state.log || v > 0);
    const drawn = this.lines.flatMap((line) => (line.style && line.low ? [line.low, line.high] : [line.y]));
    const values = Float64Array.from(drawn.flatMap((part) => part.filter(usable))).sort();
    let low = values[0] ?? 0, high = values.at(-1) ?? 1;
    const near = values[Math.floor(values.length * 0.98)];
    this.cut = values.length > 200 && !state.log && high - low > 5 * (near - low);
    if (this.cut) high = near;
    if (high === low) [low, high] = state.log ? [low / 2, high * 2] : [low - (Math.abs(low) * 0.05 || 1), high + (Math.abs(high) * 0.05 || 1)];
    const room = state.log ? 0 : (high - low) * 0.04;
    Object.assign(this, { low: low - room, high: high + room });
    this.right = Math.max(...this.lines.map((line) => line.steps.at(-1) / line.scale), 0) || 1;
  }

  x(line, k) { return EDGE.left + (line.steps[k] / line.scale / this.right) * (this.width - EDGE.left - EDGE.right); }

  y(value) {
    const f = state.log ? Math.log : (v) => v;
    const share = (f(value) - f(this.low)) / (f(this.high) - f(this.low));
    return this.height - EDGE.bottom - share * (this.height - EDGE.top - EDGE.bottom);
  }

  context(canvas) {
    const ratio = devicePixelRatio || 1, box = this.back.getBoundingClientRect();
    [this.width, this.height] = [box.width, box.height];
    [canvas.width, canvas.height] = [Math.round(box.width * ratio), Math.round(box.height * ratio)];
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    return context;
  }

  // Draw the chart, or mark it to be drawn when it comes near the visible part of the page.
  paint() {
    this.isStale = !this.isNear;
    if (this.isStale) return;
    this.prepare();
    const c = this.context(this.back), ink = getComputedStyle(document.documentElement);
    const color = (name) => ink.getPropertyValue(name).trim();
    this.grey = color("--grey");
    this.axes(c, color("--faint"), color("--quiet"), color("--ink"));
    c.save();
    c.beginPath();
    c.rect(EDGE.left, EDGE.top - 3, this.width - EDGE.left - EDGE.right + 3, this.height - EDGE.top - EDGE.bottom + 6);
    c.clip();
    const many = this.lines.filter((line) => line.style).length > 40;
    for (const line of this.lines) if (line.style && line.low) this.shade(c, line);
    for (const line of this.lines) {
      c.globalAlpha = line.style ? 0.9 : 0.35;
      this.stroke(c, line, line.style ? (many ? 1 : 1.6) : 0.8);
    }
    c.restore();
    this.light();
  }

  axes(c, faint, quiet, strong) {
    c.font = "11px system-ui, sans-serif";
    c.lineWidth = 1;
    c.textBaseline = "middle";
    for (const v of ticks(this.low, this.high, 5, state.log)) {
      const y = Math.round(this.y(v)) + 0.5;
      c.strokeStyle = faint;
      c.beginPath(); c.moveTo(EDGE.left, y); c.lineTo(this.width - EDGE.right, y); c.stroke();
      c.fillStyle = quiet; c.textAlign = "right";
      c.fillText(short(v), EDGE.left - 7, y);
    }
    c.textAlign = "center";
    for (const v of ticks(0, this.right, 6)) {
      c.fillText(short(v), EDGE.left + (v / this.right) * (this.width - EDGE.left - EDGE.right), this.height - EDGE.bottom + 11);
    }
    c.textAlign = "right";
    c.fillText(state.x, this.width - EDGE.right, this.height - 6);
    c.textAlign = "left";
    c.fillText(this.cut ? "the highest 2 % of the values are not shown" : "", EDGE.left + 6, EDGE.top + 6);
    c.fillStyle = strong; c.font = "600 13px system-ui, sans-serif";
    c.fillText(this.name, 2, 9);
  }

  // Fill the band of a line, in parts between points without a value.
  shade(c, line) {
    c.fillStyle = line.style.color;
    c.globalAlpha = 0.18;
    const y = (v) => this.y(state.log ? Math.max(v, this.low) : v);
    for (let from = 0; from < line.y.length; from += 1) {
      if (line.low[from] === null) continue;
      let to = from;
      while (to + 1 < line.y.length && line.low[to + 1] !== null) to += 1;
      c.beginPath();
      for (let k = from; k <= to; k += 1) c.lineTo(this.x(line, k), y(line.high[k]));
      for (let k = to; k >= from; k -= 1) c.lineTo(this.x(line, k), y(line.low[k]));
      c.fill();
      from = to;
    }
  }

  stroke(c, line, width) {
    c.strokeStyle = c.fillStyle = line.style ? line.style.color : this.grey;
    c.setLineDash(line.style ? line.style.dash : []);
    c.lineWidth = width;
    c.lineJoin = "round";
    let open = false;
    c.beginPath();
    line.y.forEach((v, k) => {
      if (v === null || (state.log && v <= 0)) { open = false; return; }
      c[open ? "lineTo" : "moveTo"](this.x(line, k), this.y(v));
      open = true;
    });
    c.stroke();
    c.setLineDash([]);
    if (this.name.startsWith("val/") && line.style && line.y.length <= 40) {
      line.y.forEach((v, k) => v !== null && this.dot(c, line, k, width + 0.6));
    } else if (line.y.length === 1 && line.y[0] !== null) this.dot(c, line, 0, 3);
  }

  dot(c, line, k, radius) {
    c.beginPath(); c.arc(this.x(line, k), this.y(line.y[k]), radius, 0, 7); c.fill();
  }

  // Draw the highlighted curve above the others.
  light() {
    if (this.isStale) return;
    const c = this.context(this.front);
    const line = hot && this.line(hot.key);
    if (!line) return;
    const ink = getComputedStyle(document.documentElement);
    const bold = { ...line, style: { color: line.style ? line.style.color : ink.getPropertyValue("--ink").trim(), dash: [] } };
    this.stroke(c, bold, 3);
    if (hot.chart === this && line.y[hot.k] !== null) this.dot(c, bold, hot.k, 5);
  }

  // The nearest point; of equally near ones, that of a colored line.
  point(event) {
    const box = this.back.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
    let best = null, least = 40 ** 2;
    for (const line of this.lines) {
      for (let k = 0; k < line.y.length; k += 1) {
        if (line.y[k] === null) continue;
        const dx = this.x(line, k) - px;
        if (dx > 40) break;
        const distance = dx * dx + (this.y(line.y[k]) - py) ** 2 + (line.style ? 0 : 60);
        if (distance < least) [best, least] = [{ chart: this, key: line.key, k }, distance];
      }
    }
    highlight(best, event.clientX, event.clientY);
  }

  key(event) {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (event.key === "Enter") this.select();
    if (event.key === "Escape") highlight(null);
    if (!step || !this.lines.length) return;
    event.preventDefault();
    const order = [...this.lines].reverse(); // best first
    const at = hot ? Math.max(0, order.findIndex((line) => line.key === hot.key)) : 0;
    const line = order[Math.min(order.length - 1, Math.max(0, at + (hot ? step[0] : 0)))];
    const k = Math.min(line.y.length - 1, Math.max(0, hot?.chart === this ? hot.k + step[1] : line.y.length - 1));
    const box = this.back.getBoundingClientRect();
    highlight({ chart: this, key: line.key, k }, box.left + this.x(line, k), box.top + this.y(line.y[k] ?? this.low));
  }

  text(where) {
    const line = this.line(where.key), k = where.k, step = line.steps[k], per = data.runs[line.runs[0]].steps_per_epoch;
    const value = line.y[k] === null ? "not finite" : short(line.y[k]);
    const at = `at step ${step}${per ? `, epoch ${short(step / per)}` : ""}`;
    if (!line.count) return `${label(line.runs[0])}\n${this.name} ${value} ${at}`;
    const deviation = line.std[k] === null ? "" : ` ± ${short(line.std[k])}`;
    const range = line.y[k] === null ? "" : `\n${short(line.lowest[k])} to ${short(line.highest[k])} in ${line.count[k]} of ${line.runs.length} runs`;
    return `${data.settings[line.setting].name}\n${this.name} ${value}${deviation} ${at}${range}`;
  }
}

function highlight(where, x, y) {
  const moved = where?.key !== hot?.key || where?.k !== hot?.k || where?.chart !== hot?.chart;
  hot = where;
  tip(where ? where.chart.text(where) : "", x, y);
  if (moved) for (const chart of charts) chart.light();
}

const BANDS = {
  range: "A line is the mean over the runs of a setting that have a value at the step; its band is from the lowest to the highest of these runs.",
  std: "A line is the mean over the runs of a setting that have a value at the step; its band is ± one sample standard deviation.",
  runs: "A line is a run.",
};

function showCharts() {
  const names = data.curves.names, shown = shownCurves(), wanted = names.filter((name) => shown.has(name));
  for (const chart of charts.splice(0)) if (wanted.includes(chart.name)) charts.push(chart); else nearby.unobserve(chart.node);
  for (const name of wanted) if (!charts.some((chart) => chart.name === name)) charts.push(new Chart(name));
  charts.sort((a, b) => names.indexOf(a.name) - names.indexOf(b.name));
  const grid = part("#curves .charts");
  if (charts.length !== grid.childElementCount || charts.some((chart, k) => chart.node !== grid.children[k])) grid.replaceChildren(...charts.map((chart) => chart.node));
  hot = null;
  for (const chart of charts) chart.paint();
  part("#curves > .quiet").textContent = BANDS[state.band];
  const look = styles();
  const rows = [...look].map(([s, style]) => make("li", {}, swatch(style), ` ${data.settings[s].name}`));
  const runs = state.shown.filter((i) => (state.chosen.size && state.band === "runs" ? !state.chosen.has(i) : !look.has(data.runs[i].setting)));
  if (runs.length) rows.push(make("li", { class: "dim" }, swatch(null), ` the other ${runs.length} runs`));
  part("#curves .legend").replaceChildren(...rows);
}
