// A matrix or an image as a picture in which numbers can be pointed at.

const LEAST = 20; // pixels of a cell that can hold a number
const MOST = 100; // rows and columns that are drawn at once

/* The colours of the style sheet, for canvases. */
function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(
    ["ink", "faint", "cell", "pad", "line", "plus", "minus", "lit", "focus", "frame"].map((name) => [
      name,
      style.getPropertyValue(`--${name}`).trim(),
    ]),
  );
}

/* A panel says what is to be drawn:
 *   caption, rows, cols
 *   cell(r, c)              a ref, or {value} for a zero that belongs to no tensor, or null for nothing
 *   frame(explanation)      {row, col, rows, cols} of a window to be framed, optional
 *   corner(explanation)     [row, col] to have in sight, optional, for matrices too large to be drawn as a whole
 */
class Grid {
  constructor(panel, onSelect) {
    this.panel = panel;
    this.onSelect = onSelect;
    this.rows = Math.min(panel.rows, MOST);
    this.cols = Math.min(panel.cols, MOST);
    this.top = this.left = 0;
    this.picture = document.createElement("canvas"); // of the numbers alone
    this.canvas = h("canvas", {tabindex: 0, role: "img", "aria-label": panel.caption, "data-grid": panel.id});
    this.note = h("small");
    this.element = h("figure", {}, h("figcaption", {}, panel.caption), this.canvas, this.note);
    this.canvas.addEventListener("pointermove", (event) => this.pick(event, false));
    this.canvas.addEventListener("click", (event) => this.pick(event, true));
    this.canvas.addEventListener("keydown", (event) => this.walk(event));
  }

  pick(event, click) {
    const box = this.canvas.getBoundingClientRect();
    this.choose(
      Math.floor((event.clientY - box.top) / this.size),
      Math.floor((event.clientX - box.left) / this.size),
      click,
    );
  }

  choose(row, col, click) {
    const cell = row >= 0 && col >= 0 && row < this.rows && col < this.cols && this.cells[row * this.cols + col];
    if (cell && cell.key) this.onSelect(cell, click);
  }

  walk(event) {
    const step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const [row, col] = this.place || [0, 0];
    this.choose(row + step[0], col + step[1], true);
  }

  /* Draw with cells of this size. */
  resize(size) {
    this.size = size;
    this.prepare();
  }

  /* Draw the numbers, once for all that will be lit up on them. */
  prepare() {
    const {picture, rows, cols, size} = this,
      ratio = window.devicePixelRatio || 1;
    picture.width = Math.ceil((cols * size + 1) * ratio);
    picture.height = Math.ceil((rows * size + 1) * ratio);
    this.cells = Array.from({length: rows * cols}, (_, k) =>
      this.panel.cell(this.top + Math.floor(k / cols), this.left + (k % cols)),
    );
    const largest = this.cells.reduce((most, cell) => Math.max(most, cell ? Math.abs(cell.value) || 0 : 0), 0);
    this.unit = largest && (largest < 0.095 || largest >= 1000) ? 10 ** Math.floor(Math.log10(largest)) : 1;
    const pen = picture.getContext("2d"),
      colour = colours();
    pen.scale(ratio, ratio);
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    this.cells.forEach(
      (cell, k) => cell && this.number(pen, colour, cell, (k % cols) * size, Math.floor(k / cols) * size, largest),
    );
    const cut = (first, count, all) => (count < all ? `${first}…${first + count - 1} / ${all}` : "");
    this.note.textContent = [
      cut(this.top, rows, this.panel.rows),
      cut(this.left, cols, this.panel.cols),
      this.unit === 1 || size < LEAST ? "" : `× ${this.unit.toExponential().replace("e+", "e").replace("-", "−")}`,
    ]
      .filter(Boolean)
      .join("   ");
  }

  number(pen, colour, cell, x, y, largest) {
    const size = this.size,
      real = cell.key && !cell.padding && cell.value !== undefined;
    pen.fillStyle = real ? colour.cell : colour.pad;
    pen.fillRect(x, y, size, size);
    if (cell.value === undefined) return;
    pen.globalAlpha = largest ? (0.75 * Math.abs(cell.value)) / largest : 0;
    pen.fillStyle = cell.value < 0 ? colour.minus : colour.plus;
    pen.fillRect(x, y, size, size);
    pen.globalAlpha = 1;
    if (size >= 6) {
      pen.strokeStyle = colour.line;
      pen.strokeRect(x + 0.5, y + 0.5, size, size);
    }
    if (size < LEAST) return;
    const text = brief(cell.value / this.unit);
    pen.font = `${Math.floor(Math.min(size * 0.42, (size * 1.55) / text.length))}px ui-monospace, Menlo, Consolas, monospace`;
    pen.fillStyle = real ? colour.ink : colour.faint;
    pen.fillText(text, x + size / 2 + 0.5, y + size / 2 + 1);
  }

  /* Light up what an explanation speaks of. */
  show(explanation) {
    this.bringIntoSight(explanation);
    const {canvas, picture, size, cols} = this,
      ratio = window.devicePixelRatio || 1,
      pen = canvas.getContext("2d");
    canvas.width = picture.width;
    canvas.height = picture.height;
    canvas.style.width = `${picture.width / ratio}px`;
    canvas.style.height = `${picture.height / ratio}px`;
    pen.drawImage(picture, 0, 0);
    pen.scale(ratio, ratio);
    const colour = colours(),
      wide = size < 12 ? 1.5 : 2.5;
    const frame = this.panel.frame && this.panel.frame(explanation);
    if (frame) {
      pen.setLineDash([4, 3]);
      pen.strokeStyle = colour.frame;
      pen.strokeRect(
        (frame.col - this.left) * size + 0.5,
        (frame.row - this.top) * size + 0.5,
        frame.cols * size,
        frame.rows * size,
      );
      pen.setLineDash([]);
    }
    pen.lineWidth = wide;
    this.place = null;
    this.cells.forEach((cell, k) => {
      if (!cell || !cell.key) return;
      const chosen = cell.key === explanation.key,
        row = Math.floor(k / cols),
        col = k % cols;
      if (chosen) this.place = [row, col];
      if (!chosen && !explanation.lit.has(cell.key)) return;
      pen.strokeStyle = chosen ? colour.focus : colour.lit;
      pen.strokeRect(col * size + wide / 2 + 0.5, row * size + wide / 2 + 0.5, size - wide, size - wide);
    });
  }

  bringIntoSight(explanation) {
    const corner = this.panel.corner && this.panel.corner(explanation);
    if (!corner) return;
    const start = (place, now, count, all) =>
      place === undefined || (place >= now && place < now + count)
        ? now
        : Math.min(Math.max(place - Math.floor(count / 2), 0), all - count);
    const top = start(corner[0], this.top, this.rows, this.panel.rows);
    const left = start(corner[1], this.left, this.cols, this.panel.cols);
    if (top === this.top && left === this.left) return;
    Object.assign(this, {top, left});
    this.prepare();
  }
}

const LARGEST = 36; // pixels of a cell
const SMALL = 7; // of one that can be pointed at still
const HIGH = 640; // pixels of a grid with numbers that can be read
const GAP = 26; // between grids

/* The sizes of the cells of panels: the same for all if they can stand together with numbers in them, or as each can
 * have by itself. Those that hold no numbers then, or else all, are made small enough for the row, if that is possible. */
function cellSizes(panels, width) {
  const cut = (count) => Math.min(count, MOST);
  const columns = (grids) => grids.reduce((sum, panel) => sum + cut(panel.cols), 0);
  const grids = panels.filter((panel) => panel.rows),
    room = width - GAP * panels.length,
    rows = Math.max(...grids.map((panel) => cut(panel.rows)));
  const together = Math.floor(Math.min(room / columns(grids), HIGH / rows));
  if (together >= LEAST) return panels.map(() => Math.min(together, LARGEST));
  const alone = (panel) =>
    Math.max(1, Math.floor(Math.min((width - 4) / cut(panel.cols), LEAST + 4, (0.66 * HIGH) / cut(panel.rows))));
  const pictures = grids.filter((panel) => alone(panel) < LEAST),
    others = grids.filter((panel) => alone(panel) >= LEAST);
  const taken = others.reduce((sum, panel) => sum + cut(panel.cols) * alone(panel), 0),
    small = Math.floor((room - taken) / columns(pictures));
  if (small < SMALL && together >= SMALL) return panels.map(() => together);
  return panels.map((panel) =>
    small >= SMALL && pictures.includes(panel) ? Math.min(alone(panel), small) : alone(panel),
  );
}
