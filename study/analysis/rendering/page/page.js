"use strict";

async function unpack(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

function once(make) {
  let made;
  return () => (made ??= make());
}

const data = once(async () => JSON.parse(await unpack("data")));
const vega = once(async () => {
  const script = document.createElement("script");
  script.textContent = await unpack("vega"); // the page's policy names its hash
  document.head.append(script);
});
const views = {};

// A chart is a picture until it is used: Vega takes a second to read and to draw them all.
async function draw(element) {
  const name = element.dataset.figure;
  return (views[name] ??= (async () => {
    const [{ specs }] = await Promise.all([data(), vega()]);
    const spec = structuredClone(specs[name]);
    spec.config.legend.columns = Math.max(1, Math.floor(element.clientWidth / 150));
    const place = document.createElement("div");
    place.style.width = "100%";
    element.prepend(place); // it has the container's width only once it is in the page
    const options = {
      actions: false,
      renderer: "svg",
      ast: true, // expressions are interpreted: nothing is evaluated as code
      defaultStyle: false,
      tooltip: { disableDefaultStyle: true },
    };
    const { view } = await vegaEmbed(place, spec, options);
    element.replaceChildren(place);
    return view;
  })());
}

function save(name, href) {
  const link = document.createElement("a");
  link.href = href;
  link.download = name;
  link.click();
}

async function savePicture(name) {
  const view = (await draw(document.querySelector(`[data-figure="${name}"]`))).background("white");
  save(`${name}.png`, await view.toImageURL("png", 2));
  view.background(null);
}

async function saveData(name) {
  const { rows } = (await data()).specs[name].datasets;
  const columns = [...new Set(rows.flatMap(Object.keys))];
  const field = (value) => {
    const text = value === undefined || value === null ? "" : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [columns, ...rows.map((row) => columns.map((column) => row[column]))];
  const text = lines.map((line) => line.map(field).join(",") + "\n").join("");
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  save(`${name}.csv`, url);
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// "> 12 trials", "1,300x", "416k", "beta=3e-05, lr=0.01" by its first value.
const NUMBER = /^(?:[\w.]+=)?(>?)\s*([-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)([kMG]?)x?(?![\w.])/;
const SCALE = { "": 1, k: 1e3, M: 1e6, G: 1e9 };

function number(text) {
  const found = NUMBER.exec(text);
  if (!found) return null;
  const value = Number(found[2].replaceAll(",", "")) * SCALE[found[3]];
  return found[1] ? value + 0.5 : value; // more than that
}

function sort(head) {
  const table = head.closest("table");
  const down = head.getAttribute("aria-sort") === "ascending";
  const body = table.tBodies[0];
  const cells = [...body.rows].map((row) => {
    const text = row.cells[head.cellIndex].textContent.trim();
    return { row, text, number: number(text), none: text === "-" || text === "" };
  });
  const numeric = cells.every((cell) => cell.none || cell.number !== null);
  cells.sort((a, b) => {
    if (a.none || b.none) return a.none - b.none; // what is not known stays below
    const order = numeric ? a.number - b.number : a.text.localeCompare(b.text, "en", { numeric: true });
    return down ? -order : order;
  });
  body.append(...cells.map((cell) => cell.row));
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
}

function sortable(head) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "sort";
  button.setAttribute("aria-label", `Sort by ${head.textContent}`);
  button.addEventListener("click", () => sort(head));
  head.append(button);
}

async function listTrials(body) {
  const heads = [...body.closest("table").tHead.rows[0].cells];
  const columns = (await data()).trials;
  for (const at of columns[0].keys()) {
    const cells = columns.map((column) => column[at]);
    const place = cells[heads.length];
    const row = document.createElement("tr");
    heads.forEach((head, i) => {
      const cell = document.createElement(i ? "td" : "th");
      if (!i) cell.scope = "row";
      cell.className = head.className;
      if (!i && place) {
        const link = cell.appendChild(document.createElement("a"));
        link.dataset.place = place;
        link.textContent = cells[i];
      } else cell.textContent = cells[i];
      row.append(cell);
    });
    body.append(row);
  }
  linkTo(server);
}

// MLflow's pages are where this page is shown within them, else where the reader says they are.
let server = document.body.dataset.server;
const around = location.ancestorOrigins?.[0] ?? (document.referrer && new URL(document.referrer).origin);
if (around?.startsWith("http")) server = around;

function linkTo(address) {
  server = address;
  for (const link of document.querySelectorAll("[data-place]")) link.href = server + link.dataset.place;
  const shown = document.getElementById("server");
  if (shown) shown.textContent = shown.href = server;
}

function explain(link, event) {
  const entry = document.querySelector(link.hash);
  const meaning = document.getElementById("meaning");
  if (!meaning.showPopover) return; // the link leads to the entry
  event.preventDefault();
  meaning.replaceChildren(...[...entry.children].map((child) => {
    const line = document.createElement("p");
    line.textContent = child.textContent;
    return line;
  }));
  meaning.showPopover();
  const at = link.getBoundingClientRect();
  const room = document.documentElement.clientWidth - meaning.offsetWidth - 8;
  meaning.style.left = `${Math.max(8, Math.min(at.left, room))}px`;
  const below = at.bottom + 6 + meaning.offsetHeight < innerHeight;
  meaning.style.top = `${below ? at.bottom + 6 : at.top - 6 - meaning.offsetHeight}px`;
}

function whenNear(element, act) {
  const watch = new IntersectionObserver((seen) => {
    if (!seen.some((entry) => entry.isIntersecting)) return;
    watch.disconnect();
    act(element);
  }, { rootMargin: "400px" });
  watch.observe(element);
}

for (const head of document.querySelectorAll("thead th")) sortable(head);
for (const body of document.querySelectorAll("#trials tbody")) whenNear(body.closest("figure"), () => listTrials(body));
for (const button of document.querySelectorAll("[data-save]")) {
  const action = button.dataset.save === "png" ? savePicture : saveData;
  button.addEventListener("click", () => action(button.dataset.of));
}
for (const element of document.querySelectorAll(".chart")) {
  const picture = element.querySelector("svg");
  const legible = picture && element.clientWidth > 0.8 * picture.viewBox.baseVal.width;
  if (!legible) whenNear(element, draw);
  for (const use of ["pointerenter", "pointerdown"]) element.addEventListener(use, () => draw(element), { once: true });
}
for (const link of document.querySelectorAll("a.term")) link.addEventListener("click", (event) => explain(link, event));
document.getElementById("elsewhere")?.addEventListener("click", () => {
  const address = prompt("Address of MLflow's pages", server);
  if (address && /^https?:\/\//.test(address)) linkTo(address.replace(/\/(#.*)?$/, ""));
});
if (server) linkTo(server);
