"use strict";
// Sorting: a click on the heading of a column. Above the headings stand names of groups.
for (const table of document.querySelectorAll("table")) {
  const heads = [...[...table.tHead.rows].at(-1).cells];
  const number = cell => parseFloat(cell.dataset.value ?? cell.textContent.replaceAll(",", ""));
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.ariaSort !== "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows].map(row => [row, number(row.cells[column]), row.cells[column].textContent]);
      rows.sort(([, a, text], [, b, other]) => {
        if (isNaN(a) !== isNaN(b)) return isNaN(a) - isNaN(b);  // what is missing stands last, both ways
        return (isNaN(a) ? text.localeCompare(other) : a - b) * (up ? 1 : -1);
      });
      table.tBodies[0].append(...rows.map(([row]) => row));
      table.querySelectorAll(".break").forEach(row => row.classList.remove("break"));
    });
  });
}
// Filtering: by the columns of these names, and by the data-* of figures and cells. What has no such mark always stays.
const chosen = kind => document.getElementById("filter-" + kind).value;
const matches = {
  task: (text, value) => text === value || text.startsWith(value + ", ") || text.startsWith(value + " ("),
  method: (text, value) => text === value || text.split(/ − | and /).includes(value),  // a pair of either table of pairs
  budget: (text, value) => text === value || text.split(" and ").includes(value) || text.startsWith(value + " ("),
};
const columns = { task: ["task"], method: ["method", "second − first", "learned − baseline"], budget: ["budget"] };
const kinds = Object.keys(matches);
function filter() {
  for (const table of document.querySelectorAll("table")) {
    const names = [...[...table.tHead.rows].at(-1).cells].map(head => head.dataset.name);
    const places = kinds.map(kind => [kind, names.findIndex(name => columns[kind].includes(name))]);
    for (const row of table.tBodies[0].rows) row.hidden = places.some(([kind, place]) =>
      place >= 0 && chosen(kind) && !matches[kind](row.cells[place].textContent, chosen(kind)));
  }
  const marked = [...document.querySelectorAll("[data-task], [data-method], [data-budget]")];
  for (const part of marked) part.hidden = kinds.some(kind => chosen(kind) && part.dataset[kind] && part.dataset[kind] !== chosen(kind));
  const cells = marked.filter(part => part.classList.contains("cell"));
  document.getElementById("shown").textContent = `${cells.filter(cell => !cell.hidden).length} of ${cells.length} cells`;
}
for (const kind of kinds) document.getElementById("filter-" + kind).addEventListener("change", filter);
