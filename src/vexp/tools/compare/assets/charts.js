// Overlaid curves, on canvas because 500 runs have 60,000 points. One chart per metric, with a common highlighted run.
const EDGE = { left: 58, right: 12, top: 26, bottom: 30 };
const charts = [];
let hot = null; // the run under the pointer or the arrow keys

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
    this.series = data.curves.names.indexOf(name);
    this.back = make("canvas", { tabIndex: 0, role: "application", "aria-label": `${name} of the runs over training; arrow keys move along and between the curves` });
    this.front = make("canvas", { "aria-hidden": "true" });
    this.node = make("div", { class: "chart" }, this.back, this.front);
    this.back.addEventListener("pointermove", (event) => this.point(event));
    this.back.addEventListener("pointerleave", () => highlight(null));
    this.back.addEventListener("click", () => hot && choose([hot.run], !state.chosen.has(hot.run)));
    this.back.addEventListener("keydown", (event) => this.key(event));
    this.back.addEventListener("blur", () => highlight(null));
  }

  // The curves in drawing order: grey ones first, the best setting last.
  prepare() {
    const look = styles(), smooth = this.name.startsWith("train/") && !this.name.endsWith("/lr") ? state.smooth : 0;
    this.lines = [];
    for (const i of state.shown) {
      const curve = data.curves.runs[i][this.series];
      const scale = state.x === "epoch" ? data.runs[i].steps_per_epoch : 1;
      if (!curve || !scale) continue;
      const style = look.get(data.runs[i].setting);
      const bright = state.chosen.size ? state.chosen.has(i) : Boolean(style);
      this.lines.push({ run: i, steps: data.curves.steps[curve[0]], scale, y: smoothed(curve[1], smooth), style: bright ? style : null });
    }
    const place = new Map([...look.keys()].map((s, k) => [s, k]));
    const rank = (line) => (line.style ? 1e6 - place.get(data.runs[line.run].setting) : 0);
    this.lines.sort((a, b) => rank(a) - rank(b));
    this.range();
  }

  // The axes include every finite point, except the highest 2 % if they are far above the others (a diverged run).
  range() {
    const usable = (v) => v !== null && (!state.log || v > 0);
    const values = this.lines.flatMap((line) => line.y.filter(usable)).sort((a, b) => a - b);
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

  paint() {
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

  // Draw the highlighted run above the others.
  light() {
    const c = this.context(this.front);
    const line = hot && this.lines.find((l) => l.run === hot.run);
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
        if (distance < least) [best, least] = [{ chart: this, run: line.run, k }, distance];
      }
    }
    highlight(best, event.clientX, event.clientY);
  }

  key(event) {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (event.key === "Enter" && hot) choose([hot.run], !state.chosen.has(hot.run));
    if (event.key === "Escape") highlight(null);
    if (!step || !this.lines.length) return;
    event.preventDefault();
    const order = [...this.lines].reverse(); // best first
    const at = hot ? Math.max(0, order.findIndex((line) => line.run === hot.run)) : 0;
    const line = order[Math.min(order.length - 1, Math.max(0, at + (hot ? step[0] : 0)))];
    const k = Math.min(line.y.length - 1, Math.max(0, hot?.chart === this ? hot.k + step[1] : line.y.length - 1));
    const box = this.back.getBoundingClientRect();
    highlight({ chart: this, run: line.run, k }, box.left + this.x(line, k), box.top + this.y(line.y[k] ?? this.low));
  }

  text(where) {
    const line = this.lines.find((l) => l.run === where.run);
    const step = line.steps[where.k], per = data.runs[where.run].steps_per_epoch;
    const value = line.y[where.k] === null ? "not finite" : short(line.y[where.k]);
    return `${label(where.run)}\n${this.name} ${value} at step ${step}${per ? `, epoch ${short(step / per)}` : ""}`;
  }
}

function highlight(where, x, y) {
  const moved = where?.run !== hot?.run || where?.k !== hot?.k || where?.chart !== hot?.chart;
  hot = where;
  tip(where ? where.chart.text(where) : "", x, y);
  if (moved) for (const chart of charts) chart.light();
}

function showCharts() {
  const wanted = data.curves.names.filter((name) => state.series.has(name));
  for (const name of wanted) if (!charts.some((chart) => chart.name === name)) charts.push(new Chart(name));
  const shown = charts.filter((chart) => state.series.has(chart.name));
  charts.splice(0, charts.length, ...shown.sort((a, b) => a.series - b.series));
  part("#curves .charts").replaceChildren(...charts.map((chart) => chart.node));
  hot = null;
  for (const chart of charts) chart.paint();
  const look = styles();
  const rows = [...look].map(([s, style]) => make("li", {}, swatch(style), ` ${data.settings[s].name}`));
  const runs = state.shown.filter((i) => (state.chosen.size ? !state.chosen.has(i) : !look.has(data.runs[i].setting)));
  if (runs.length) rows.push(make("li", { class: "dim" }, swatch(null), ` the other ${runs.length} runs`));
  part("#curves .legend").replaceChildren(...rows);
}
