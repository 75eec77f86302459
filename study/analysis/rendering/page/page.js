"use strict";

const specs = JSON.parse(document.getElementById("specs").textContent);
const views = {};

async function draw(element) {
  const name = element.dataset.figure;
  const spec = specs[name];
  spec.config.legend.columns = Math.max(1, Math.floor(element.clientWidth / 150));
  const options = {
    actions: false,
    renderer: "svg",
    ast: true, // expressions are interpreted: nothing is evaluated as code
    defaultStyle: false,
    tooltip: { disableDefaultStyle: true },
  };
  views[name] = (await vegaEmbed(element, spec, options)).view;
}

function save(name, href) {
  const link = document.createElement("a");
  link.href = href;
  link.download = name;
  link.click();
}

async function savePicture(name) {
  const view = views[name].background("white");
  save(`${name}.png`, await view.toImageURL("png", 2));
  view.background(null);
}

function saveData(name) {
  const rows = specs[name].datasets.rows;
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

const NUMBER = /^>?([-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)([kMG]?)(?![\w.])/;
const SCALE = { "": 1, k: 1e3, M: 1e6, G: 1e9 };

function number(text) {
  const found = NUMBER.exec(text);
  return found ? Number(found[1].replaceAll(",", "")) * SCALE[found[2]] : null;
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
  for (const other of head.parentElement.cells) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
}

for (const head of document.querySelectorAll("thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = head.textContent;
  button.addEventListener("click", () => sort(head));
  head.replaceChildren(button);
  head.setAttribute("aria-sort", "none");
}
for (const button of document.querySelectorAll("[data-save]")) {
  const action = button.dataset.save === "png" ? savePicture : saveData;
  button.addEventListener("click", () => action(button.dataset.of));
}
for (const element of document.querySelectorAll(".chart")) draw(element);
