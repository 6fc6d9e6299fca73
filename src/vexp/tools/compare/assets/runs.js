// The table of runs. Of many runs, only the rows near the visible part are in the page.
const MANY = 150, SPARE = 12; // rows; above and below the visible ones
let order = []; // indices of the runs, sorted
let columns = [], drawnRows = [0, 0];

// Columns: header, sort value, text and cell.
function runColumns() {
  const look = styles();
  const box = (i) => make("input", { type: "checkbox", checked: state.chosen.has(i), "aria-label": `select ${label(i)}`, onchange: () => choose([i], !state.chosen.has(i)) });
  const value = (text) => (text === null ? null : Number.isFinite(Number(text)) && text.trim() !== "" ? Number(text) : text);
  const keys = data.columns.map((column, c) => ({ key: column.key, head: column.key, sort: (i) => value(data.runs[i].values[c]), text: (i) => data.runs[i].values[c] ?? ABSENT,
      cell: (i) => make("td", { class: "value", title: data.runs[i].values[c] ?? "the config of this run does not have the key" }, data.runs[i].values[c] ?? ABSENT) }));
  const results = data.metrics.map((metric, m) => ({ key: metric.name, head: metric.name, number: true, greater: metric.greater, sort: (i) => data.runs[i].scores[m], text: (i) => number(data.runs[i].scores[m]),
      cell: (i) => make("td", { class: `number${metric.best.includes(i) ? " best" : ""}`, title: data.runs[i].absent[m] ?? String(data.runs[i].scores[m]) }, number(data.runs[i].scores[m])) }));
  const folder = { key: "run", head: "folder", sort: (i) => data.runs[i].name, text: (i) => data.runs[i].name, cell: (i) => make("td", { class: "name", title: data.runs[i].name }, make("a", { href: data.runs[i].href }, data.runs[i].name)) };
  const end = [
    { key: "step", head: "at step", number: true, sort: (i) => data.runs[i].step, text: (i) => String(data.runs[i].step), cell: (i) => make("td", { class: "number dim" }, data.runs[i].step === null ? ABSENT : String(data.runs[i].step)) },
    { key: "time", head: "time", number: true, sort: (i) => data.runs[i].seconds, text: (i) => duration(data.runs[i].seconds), cell: (i) => make("td", { class: "number dim", title: "duration of the last process of the run" }, duration(data.runs[i].seconds)) },
    { key: "state", head: "state", sort: (i) => data.runs[i].status + data.runs[i].flags.length, text: (i) => `${data.runs[i].status}${"not comparable".repeat(data.runs[i].flags.length > 0)}${"note".repeat(data.runs[i].notes.length > 0)}`, cell: (i) => make("td", {}, ...badges(i)) },
  ];
  const first = { key: "chosen", head: "select", sort: (i) => (state.chosen.has(i) ? 0 : 1), text: () => "", cell: (i) => make("td", {}, box(i), " ", swatch(look.get(data.runs[i].setting))) };
  if (!data.crowded) return [first, ...keys, ...results, ...end, folder];
  const [main] = results.splice(state.metric, 1);
  return [first, folder, main, ...keys, ...results, ...end];
}

function badges(i) {
  const run = data.runs[i], made = [make("span", { class: `badge ${run.status}`, title: run.why }, run.status)];
  if (run.flags.length) made.push(" ", make("span", { class: "badge warn", title: run.flags.join("\n") }, "not comparable"));
  if (run.notes.length) made.push(" ", make("span", { class: "badge warn", title: run.notes.join("\n") }, "note"));
  return made;
}

function showRuns() {
  const main = data.metrics[state.metric];
  columns = runColumns();
  let { key, down } = state.sort ?? { key: main.name, down: main.greater !== false };
  if (!columns.some((column) => column.key === key)) [key, down] = [main.name, main.greater !== false]; // the column has vanished
  const by = columns.find((column) => column.key === key), values = data.runs.map((_, i) => by.sort(i));
  order = [...state.shown].sort((a, b) => {
    const [u, v] = [values[a], values[b]];
    if (u === null || v === null) return (u === null) - (v === null) || a - b; // missing values come last in both directions
    const less = typeof u === typeof v ? (u < v ? -1 : u > v ? 1 : 0) : typeof u === "number" ? -1 : 1;
    return (down ? -less : less) || a - b;
  });
  const head = columns.map((column) => {
    const sorted = column.key === key, first = column.greater === true;
    const sort = () => { state.sort = { key: column.key, down: sorted ? !down : first }; showRuns(); focusHead(column.key); };
    return header(make("button", { type: "button", onclick: sort, "data-key": column.key }, column.head),
      { class: column.number ? "number" : "", "aria-sort": sorted ? (down ? "descending" : "ascending") : "none" });
  });
  const isMany = order.length > MANY;
  part("#runs").classList.toggle("many", isMany);
  const table = part("#runs table");
  table.setAttribute("aria-rowcount", String(order.length + 1));
  table.replaceChildren(make("thead", {}, make("tr", {}, ...head), ...(isMany ? [sizer()] : [])), make("tbody"));
  drawnRows = [0, 0];
  drawRows(true);
}

// A row without height that has the longest text of each column, so that the columns keep their widths.
function sizer() {
  const longest = columns.map((column) => order.reduce((best, i) => (column.text(i).length > column.text(best).length ? i : best), order[0]));
  const row = make("tr", { class: "sizer", "aria-hidden": "true" }, ...columns.map((column, c) => column.cell(longest[c])));
  for (const box of row.querySelectorAll("input")) { box.disabled = true; box.removeAttribute("aria-label"); }
  return row;
}

function drawRows(isNew) {
  const box = part("#runs .scroll"), body = part("#runs tbody");
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize), height = 2 * rem; // of a row, as in page.css
  let [from, to] = [0, order.length];
  if (order.length > MANY) {
    to = Math.min(order.length, Math.ceil((box.scrollTop + 42 * rem) / height));
    from = Math.max(0, Math.min(Math.floor(box.scrollTop / height), to));
  }
  if (!isNew && from >= drawnRows[0] && to <= drawnRows[1]) return;
  [from, to] = [Math.max(0, from - SPARE), Math.min(order.length, to + SPARE)];
  drawnRows = [from, to];
  const space = (rows) => (rows ? [make("tr", { class: "spacer", "aria-hidden": "true" }, make("td", { colSpan: columns.length, style: `height: ${rows * height}px` }))] : []);
  const rows = order.slice(from, to).map((i, k) => make("tr", { "aria-rowindex": String(from + k + 2), class: `${state.chosen.has(i) ? "chosen" : ""} ${data.runs[i].status === "done" && !data.runs[i].flags.length ? "" : "out"}` }, ...columns.map((column) => column.cell(i))));
  body.replaceChildren(...space(from), ...rows, ...space(order.length - to));
}

const focusHead = (key) => [...document.querySelectorAll("#runs th button")].find((button) => button.dataset.key === key)?.focus({ preventScroll: true });
