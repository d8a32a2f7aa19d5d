"""The page that ``wasmjit explore`` fills: @TITLE@; as JSON, @DATA@, the functions, and @CHARTS@, where time went."""

PAGE = r"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>@TITLE@</title>
<style>
:root { color-scheme: light dark; --line: #8884; --near: #ffd54f33; --on: #ffd54f99; --pin: #4fc3f799; }
* { box-sizing: border-box; }
body { margin: 0; height: 100vh; display: flex; flex-direction: column; font: 14px system-ui, sans-serif; }
header { display: flex; gap: 1em; align-items: baseline; padding: .5em 1em; border-bottom: 1px solid var(--line); }
header h1 { font-size: 1em; margin: 0; }
select, input { font: inherit; max-width: 40ch; }
main { flex: 1; min-height: 0; display: grid; grid-template-columns: 1fr 1.4fr 1fr; }
section { display: flex; flex-direction: column; min-width: 0; min-height: 0; border-right: 1px solid var(--line); }
section h2 { font-size: .9em; margin: 0; padding: .3em 1em; border-bottom: 1px solid var(--line); }
ol { list-style: none; margin: 0; padding: .5em 0; overflow: auto; flex: 1;
  font: 12px/1.45 ui-monospace, monospace; white-space: pre; }
li { padding: 0 1em; min-height: 1.45em; width: max-content; min-width: 100%; }
li[data-at] { cursor: pointer; }
li.near { background: var(--near); }
li.on { background: var(--on); }
li.pin { background: var(--pin); }
details { border-bottom: 1px solid var(--line); max-height: 45vh; overflow: auto; padding: .3em 1em; }
details h3 { font-size: .9em; margin: .8em 0 .3em; }
.phases { display: flex; height: 1.6em; }
.phases span { overflow: hidden; white-space: nowrap; font-size: .75em; padding: .2em; color: #000; min-width: 1px; }
.bars { display: grid; grid-template-columns: max-content max-content 1fr max-content; gap: .1em .8em;
  font-size: .8em; }
.bars b { display: block; height: .9em; background: #4fc3f7; min-width: 1px; }
.bars b + b { background: #ffb74d; height: .3em; }
.bars a { cursor: pointer; text-decoration: underline; }
footer { padding: .3em 1em; border-top: 1px solid var(--line); font-size: .85em; }
</style>
</head>
<body>
<header>
  <h1>@TITLE@</h1>
  <label>Find <input id="find" type="search" placeholder="name or index"></label>
  <label>Function <select id="choose"></select></label>
</header>
<details><summary>Where the time goes</summary><div id="charts"></div></details>
<main>
  <section><h2>WebAssembly</h2><ol id="wasm"></ol></section>
  <section><h2>LLVM IR</h2><ol id="ir"></ol></section>
  <section><h2>Assembly</h2><ol id="assembly"></ol></section>
</main>
<footer>Point at a line: strong marks are what carries its wasm offset, weak ones what leads up to it. Click keeps the
marks; Escape drops them. <span id="where"></span></footer>
<script type="application/json" id="data">@DATA@</script>
<script type="application/json" id="timing">@CHARTS@</script>
<script>
"use strict";
const functions = JSON.parse(document.getElementById("data").textContent);
const columns = ["wasm", "ir", "assembly"].map(id => document.getElementById(id));
const choose = document.getElementById("choose"), find = document.getElementById("find");
const where = document.getElementById("where");
let byOffset = new Map(), shown = [], pinned = 0;

function size(f) {
  if (f.tier === "interpreted") return f.tier;
  return `${f.size} bytes, ${f.tier}${f.milliseconds ? ` in ${f.milliseconds} ms` : ""}`;
}
function label(f) { return `${f.index}: ${f.name ?? "(no name)"} - ${size(f)}`; }

function list() {
  const wanted = find.value.toLowerCase();
  const found = functions.filter(f => label(f).toLowerCase().includes(wanted));
  choose.replaceChildren(...found.map(f => new Option(label(f), f.index)));
  if (found.length) show(found[0].index);
}

function show(index) {
  const f = functions.find(f => f.index === Number(index));
  if (!f) return;
  byOffset = new Map(); shown = []; pinned = 0;
  for (const column of columns) {
    column.replaceChildren(...f[column.id].map(([text, offset, exact]) => {
      const line = document.createElement("li");
      line.textContent = text;
      if (offset) {
        line.dataset.at = offset;
        if (exact) line.dataset.exact = "";
        if (!byOffset.has(offset)) byOffset.set(offset, []);
        byOffset.get(offset).push(line);
      }
      return line;
    }));
    column.scrollTop = 0;
  }
  choose.value = f.index;
  where.textContent = "";
  if (location.hash !== `#${f.index}`) history.replaceState(null, "", `#${f.index}`);
}

function mark(offset, from) {
  for (const line of shown) line.classList.remove("on", "near", "pin");
  shown = byOffset.get(offset) ?? [];
  for (const line of shown) line.classList.add(pinned ? "pin" : "exact" in line.dataset ? "on" : "near");
  where.textContent = offset ? `wasm offset 0x${offset.toString(16)}` : "";
  for (const column of columns) {
    if (column.contains(from)) continue;
    const first = shown.find(line => column.contains(line) && "exact" in line.dataset)
      ?? shown.find(line => column.contains(line));
    if (!first) continue;
    const top = first.offsetTop - column.offsetTop;
    if (top < column.scrollTop || top > column.scrollTop + column.clientHeight - 40)
      column.scrollTop = top - column.clientHeight / 3;
  }
}

function offsetOf(event) { return Number(event.target.closest?.("li")?.dataset.at ?? 0); }

for (const column of columns) {
  column.addEventListener("mouseover", event => { if (!pinned) mark(offsetOf(event), event.target); });
  column.addEventListener("mouseleave", () => { if (!pinned) mark(0, null); });
  column.addEventListener("click", event => { pinned = offsetOf(event); mark(pinned, event.target); });
}
document.addEventListener("keydown", event => { if (event.key === "Escape") { pinned = 0; mark(0, null); } });
choose.addEventListener("change", () => show(choose.value));
find.addEventListener("input", list);
addEventListener("hashchange", () => show(location.hash.slice(1)));
function element(tag, text, parent, style = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  Object.assign(made.style, style);
  parent.append(made);
  return made;
}
function milliseconds(seconds) { return `${(1000 * seconds).toFixed(1)} ms`; }

// A bar of phases, each as wide as it took; then functions: how often they began, and (thin) what making them took.
function draw(chart, parent) {
  const phases = Object.entries(chart.seconds), all = phases.reduce((sum, [, s]) => sum + s, 0);
  element("h3", `${chart.title}: ${milliseconds(all)}`, parent);
  const bar = element("div", "", parent);
  bar.className = "phases";
  phases.forEach(([name, seconds], i) => {
    const part = element("span", `${name} ${milliseconds(seconds)}`, bar,
      { flex: `${100 * seconds / all} 0 0`, background: `hsl(${(i * 67) % 360} 70% 70%)` });
    part.title = part.textContent;
  });
  const most = key => Math.max(...chart.functions.map(f => f[key] ?? 0), 1e-9);
  const mostCalls = most("calls"), mostSeconds = most("compile_seconds");
  const grid = element("div", "", parent, { marginTop: ".5em" });
  grid.className = "bars";
  const order = f => [f.calls ?? 0, f.compile_seconds ?? 0];
  const sorted = [...chart.functions].sort((a, b) => order(b)[0] - order(a)[0] || order(b)[1] - order(a)[1]);
  for (const f of sorted) {
    const name = element("a", `${f.index}: ${f.name ?? "(no name)"}`.slice(0, 60), grid);
    name.addEventListener("click", () => show(f.index));
    element("span", f.tier, grid);
    const bars = element("div", "", grid);
    element("b", "", bars, { width: `${100 * (f.calls ?? 0) / mostCalls}%` });
    element("b", "", bars, { width: `${100 * (f.compile_seconds ?? 0) / mostSeconds}%` });
    const parts = [f.calls === null ? null : `${f.calls} calls and loops`,
      f.compile_seconds === null ? null : `made in ${milliseconds(f.compile_seconds)}`,
      f.size === null ? null : `${f.size} bytes`];
    element("span", parts.filter(part => part !== null).join(", "), grid);
  }
}
for (const chart of JSON.parse(document.getElementById("timing").textContent))
  draw(chart, document.getElementById("charts"));

const asked = Number(location.hash.slice(1) || -1);
list();
if (functions.some(f => f.index === asked)) show(asked);
</script>
</body>
</html>
"""
