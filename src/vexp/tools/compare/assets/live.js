// With `vexp compare --watch`: load the newest data when there are any, and show them where the user is.
function watchForRefresh() {
  if (!data.live) return;
  const text = byId("live"), period = Math.min(5000, Math.max(250, data.live.every * 500));
  let newest = null, moved = Date.now();
  const say = (words, isStale) => { text.hidden = false; text.textContent = words; text.classList.toggle("stale", isStale); };
  const load = (file) => {
    const script = make("script", { src: `${file}?${Date.now()}`, onload: () => script.remove(), onerror: () => { script.remove(); say("not refreshed any more", true); } });
    document.head.append(script);
  };
  window.vexpLive = (found) => {
    if (found.beat !== newest?.beat || found.session !== newest.session) moved = Date.now();
    newest = found;
    if (found.session !== data.live.session || found.round !== data.live.round) load("index.data.js");
    const waits = Date.now() - moved > 1000 * Math.max(30, 8 * found.every);
    say(found.ended ? `watching ended at ${found.time}` : waits ? `no refresh since ${found.time}` : `refreshed at ${found.time}`, found.ended || waits);
  };
  window.vexpData = (json) => update(JSON.parse(json));
  const poll = () => { if (!document.hidden) load("index.live.js"); };
  document.addEventListener("visibilitychange", poll);
  setInterval(poll, period);
  poll();
}

// Replace the data; the selection, the filter, the order, the metric, the curves, the focus and the place in the page stay.
function update(next) {
  const chosen = new Set([...state.chosen].map((i) => data.runs[i].href)), names = String(data.curves.names);
  const box = part("#runs .scroll"), scrolled = box.scrollTop;
  const anchor = [...document.querySelectorAll("main > section")].find((section) => section.getBoundingClientRect().bottom > 80);
  const top = anchor?.getBoundingClientRect().top;
  const active = document.activeElement, [key, name] = [active?.dataset.key, active?.getAttribute("aria-label")];
  data = next;
  parsed.clear();
  state.chosen = new Set(data.runs.flatMap((run, i) => (chosen.has(run.href) ? [i] : [])));
  state.metric = Math.max(0, data.metrics.findIndex((metric) => metric.name === state.metricName));
  showTexts();
  if (String(data.curves.names) !== names) tools();
  filter();
  showAll();
  showSelected();
  box.scrollTop = scrolled;
  drawRows(false);
  if (!document.contains(active)) {
    if (key) focusHead(key);
    else if (name) [...document.querySelectorAll("[aria-label]")].find((node) => node.getAttribute("aria-label") === name)?.focus({ preventScroll: true });
  }
  if (anchor) scrollBy({ top: anchor.getBoundingClientRect().top - top, behavior: "instant" });
}
