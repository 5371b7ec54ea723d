"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const labels = read("instants"), kernels = read("kernels"), live = read("live");
  const root = document.documentElement, tip = document.getElementById("tip");
  const map = document.getElementById("map"), cursor = document.getElementById("cursor");
  const readout = document.getElementById("readout"), resting = readout.textContent;

  document.getElementById("theme").addEventListener("click", () => {
    const chosen = root.style.colorScheme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    root.style.colorScheme = chosen === "dark" ? "light" : "dark";
  });

  // Without this script the browser shows the titles itself.
  for (const block of map.querySelectorAll(".block")) {
    const title = block.querySelector("title");
    block.dataset.tip = title.textContent;
    title.remove();
  }

  const hide = () => {
    tip.hidden = true;
    cursor.setAttribute("hidden", "");
    readout.textContent = resting;
  };

  map.addEventListener("pointerleave", hide);
  map.addEventListener("pointermove", (event) => {
    const box = map.getBoundingClientRect(), unit = map.viewBox.baseVal.width / box.width;
    const left = Number(map.dataset.left), wide = Number(map.dataset.call);
    const call = Math.floor(((event.clientX - box.left) * unit - left) / wide);
    if (call < 0 || call >= live.length) { hide(); return; }
    cursor.removeAttribute("hidden");
    cursor.setAttribute("transform", `translate(${left + (call + 0.5) * wide} 0)`);
    readout.textContent = `Call ${call}: ${labels[call]}, ${kernels[call]}, ${live[call].toLocaleString("en")} bytes alive`;
    const block = event.target.closest(".block");
    tip.hidden = !block;
    if (!block) return;
    tip.textContent = block.dataset.tip;
    const x = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const below = event.clientY + 16 + tip.offsetHeight < innerHeight;
    tip.style.left = `${Math.max(8, x)}px`;
    tip.style.top = `${below ? event.clientY + 16 : event.clientY - tip.offsetHeight - 12}px`;
  });

  const value = (cell) => cell.dataset.v !== undefined ? Number(cell.dataset.v) : cell.textContent.trim();
  const compare = (a, b) => {
    const x = value(a), y = value(b), numbers = x !== "" && y !== "" && !isNaN(x) && !isNaN(y);
    return numbers ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
  };
  for (const table of document.querySelectorAll(".sortable")) {
    table.tHead.addEventListener("click", (event) => {
      const head = event.target.closest("th");
      if (!head || head.classList.contains("axis")) return;
      // Numbers begin with the largest.
      const before = head.getAttribute("aria-sort"), numeric = head.classList.contains("n");
      const up = before ? before === "descending" : !numeric;
      for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => compare(a.cells[head.cellIndex], b.cells[head.cellIndex]) * (up ? 1 : -1));
      table.tBodies[0].append(...rows);
    });
  }
})();
