// The steps of a convolution, forward and backward, and the pictures of each.

class ConvolutionSteps extends Convolution {
  constructor(scene) {
    super(scene);
    this.family = "conv";
    [this.o] = this.available("y");
    [this.c] = this.available("gx");
    if (this.O > FEW) this.channels.o = this.available("y");
    if (this.CG > FEW) this.channels.c = this.available("gx");
    this.steps = this.H * this.W * this.KH * this.KW === 1 ? this.ofOnePixel() : this.ofImages();
  }

  ofImages() {
    const gx = this.busiest(), [o, i, j] = this.tensors.gy.blocks[0].start, c = this.c % this.CG;
    const gcols = `gcols:${this.group(o)},${this.row(c, 0, 0)},${i * this.OW + j}`;
    return [
      this.step("columns", this.start("y"), this.columnsStep),
      this.step("product", this.start("y"), this.productStep),
      ...(this.isLinear ? [this.step("linear", this.start("y"), this.linearStep)] : []),
      this.step("weights", this.start("gw"), this.weightsStep),
      this.step("gcols", gcols, this.gcolsStep),
      this.step("col2im", gx, this.col2imStep),
      this.step("turned", gx, this.turnedStep),
      this.step("loops", gx, this.loopsStep),
    ];
  }

  /* A linear layer: the matrices are all there is. */
  ofOnePixel() {
    return [
      this.step("linear_y", this.start("y"), () => [[this.weightMatrix("w"), "×", this.pixelMatrix("x"), ...this.biases("b").flatMap((b) => ["+", b]), "=", this.outputMatrix("y")]]),
      this.step("linear_gw", this.start("gw"), () => [[this.outputMatrix("gy"), "×", this.transposed(this.pixelMatrix("x")), "=", this.weightMatrix("gw")], this.biases("gb")]),
      this.step("linear_gx", this.start("gx"), () => [[this.transposed(this.weightMatrix("w")), "×", this.outputMatrix("gy"), "=", this.pixelMatrix("gx")]]),
    ];
  }

  /* A pixel that lies in the most windows; of a large image, the one with the greatest gradient. */
  busiest() {
    const {start: [c, top, left], shape: [, rows, cols]} = this.tensors.gx.blocks[0];
    if (rows * cols > LARGE) return this.start("gx");
    let most = 0, place = [top, left];
    for (let hh = top; hh < top + rows; hh++) {
      for (let v = left; v < left + cols; v++) {
        const count = [...this.windowsOf(hh, v)].length;
        if (count > most) [most, place] = [count, [hh, v]];
      }
    }
    return `gx:${c},${place}`;
  }

  /* Choose the channels that an explanation speaks of; whether they are others than before. */
  follow(explanation) {
    const before = `${this.o},${this.c}`;
    if (explanation.o !== undefined) this.o = explanation.o;
    if (explanation.c !== undefined) {
      this.c = explanation.c;
      const group = Math.floor(this.c / this.CG);
      if (this.group(this.o) !== group) this.o = group * this.OG;
    } else if (this.group(this.o) !== Math.floor(this.c / this.CG)) {
      this.c = this.group(this.o) * this.CG;
    }
    return before !== `${this.o},${this.c}`;
  }

  // -- which channels ----------------------------------------------------------------------------------------------

  /* Input channels that are shown: of the group that the output channel chosen is in. */
  inputs() {
    const first = this.group(this.o) * this.CG;
    return this.CG <= FEW ? Array.from({length: this.CG}, (_, c) => first + c) : [this.c];
  }

  outputs() {
    return this.O <= FEW ? Array.from({length: this.O}, (_, o) => o) : [this.o];
  }

  // -- maps --------------------------------------------------------------------------------------------------------

  /* Channels of the image with its padding, in which the window of an explanation is framed; of gx without. */
  images(name) {
    const top = name === "x" ? this.top : 0, left = name === "x" ? this.left : 0;
    return this.inputs().map((c) => ({
      id: `${name}-${c}`, caption: `${name}[${c}]`,
      rows: name === "x" ? this.H + this.top + this.bottom : this.H, cols: name === "x" ? this.W + this.left + this.right : this.W,
      cell: (r, s) => {
        const index = [c, r - top, s - left];
        return this.inside(index[1], index[2]) ? this.at(name, ...index) : Object.assign(new Ref(name, index, 0), {padding: true});
      },
      frame: (e) => this.window(e, top - this.top, left - this.left),
    }));
  }

  /* The pixels that an output, or a weight, meets; in an image whose first pixel is this far from the padded one's. */
  window(e, down, right) {
    if (e.i !== undefined) {
      return {row: e.i * this.sh + down, col: e.j * this.sw + right, rows: this.dh * (this.KH - 1) + 1, cols: this.dw * (this.KW - 1) + 1};
    }
    if (e.name !== "gw") return null;
    return {row: e.p * this.dh + down, col: e.q * this.dw + right, rows: this.sh * (this.OH - 1) + 1, cols: this.sw * (this.OW - 1) + 1};
  }

  maps(name) {
    return this.outputs().map((o) => ({
      id: `${name}-${o}`, caption: `${name}[${o}]`, rows: this.OH, cols: this.OW, cell: (i, j) => this.at(name, o, i, j),
    }));
  }

  kernels(name) {
    return this.outputs().flatMap((o) => {
      const first = this.group(o) * this.CG;
      const inputs = this.inputs().filter((c) => c >= first && c < first + this.CG);
      return inputs.map((c) => ({
        id: `${name}-${o}-${c - first}`, caption: `${name}[${o},${c - first}]`, rows: this.KH, cols: this.KW,
        cell: (p, q) => this.at(name, o, c - first, p, q),
      }));
    });
  }

  biases(name) {
    if (!(name in this.tensors)) return [];
    return [{id: name, caption: name, rows: this.O, cols: 1, cell: (o) => this.at(name, o), corner: (e) => [e.o, 0]}];
  }

  // -- matrices, of the group that is looked at --------------------------------------------------------------------

  get g() {
    return this.group(this.o);
  }

  /* W (O/G × C/G·KH·KW), or gw in the same shape. */
  weightMatrix(name) {
    const {g} = this;
    return {id: `${name}-matrix`, caption: `${name === "w" ? "W" : name}  ${this.OG} × ${this.CG * this.KH * this.KW}`,
      rows: this.OG, cols: this.CG * this.KH * this.KW,
      cell: (o, row) => this.at(name, g * this.OG + o, ...this.weightOf(row)),
      corner: (e) => [e.o === undefined ? e.o : e.o - g * this.OG, e.row]};
  }

  /* y or gy, a row for each channel (O/G × OH·OW). */
  outputMatrix(name) {
    const {g} = this;
    return {id: `${name}-matrix`, caption: `${name}  ${this.OG} × ${this.OH * this.OW}`, rows: this.OG, cols: this.OH * this.OW,
      cell: (o, l) => this.at(name, g * this.OG + o, Math.floor(l / this.OW), l % this.OW),
      corner: (e) => [e.o === undefined ? e.o : e.o - g * this.OG, e.l]};
  }

  /* x or gx, a row for each channel (C/G × H·W). */
  pixelMatrix(name) {
    const {g} = this;
    return {id: `${name}-matrix`, caption: `${name}  ${this.CG} × ${this.H * this.W}`, rows: this.CG, cols: this.H * this.W,
      cell: (c, l) => this.at(name, g * this.CG + c, Math.floor(l / this.W), l % this.W),
      corner: (e) => [e.c === undefined ? e.c : e.c - g * this.CG, e.h === undefined ? e.l : e.h * this.W + e.v]};
  }

  /* cols or gcols (C/G·KH·KW × OH·OW). */
  columnMatrix(name) {
    const {g} = this;
    return {id: name, caption: `${name}  ${this.CG * this.KH * this.KW} × ${this.OH * this.OW}`,
      rows: this.CG * this.KH * this.KW, cols: this.OH * this.OW,
      cell: (row, l) => (name === "cols" ? this.cols(g, row, l) : this.gcols(g, row, l)),
      corner: (e) => [e.row, e.l]};
  }

  transposed(panel) {
    return {...panel, id: `${panel.id}-transposed`, caption: panel.caption.replace(/^(\w+)  (\d+) × (\d+)$/, "$1ᵀ  $3 × $2"),
      rows: panel.cols, cols: panel.rows, cell: (r, c) => panel.cell(c, r),
      corner: (e) => (panel.corner ? [...panel.corner(e)].reverse() : null)};
  }

  // -- steps: rows of panels, with operators between them ----------------------------------------------------------

  get large() {
    return this.OH * this.OW > LARGE / 2;
  }

  /* Matrices, then maps; large matrices last. */
  ordered(matrices, maps) {
    return this.large ? [maps, matrices] : [matrices, maps];
  }

  columnsStep() {
    const cols = this.columnMatrix("cols");
    return this.large ? [[...this.images("x"), "→", ...this.maps("y")], [cols]] : [[...this.images("x"), "→", cols], this.maps("y")];
  }

  productStep() {
    return this.ordered([this.weightMatrix("w"), "×", this.columnMatrix("cols"), "=", this.outputMatrix("y")],
      [...this.images("x"), "⋆", ...this.kernels("w"), ...this.biases("b").flatMap((b) => ["+", b]), "=", ...this.maps("y")]);
  }

  linearStep() {
    const again = {...this.pixelMatrix("x"), id: "x-matrix-again"};
    return [[this.weightMatrix("w"), "×", this.pixelMatrix("x"), "=", this.outputMatrix("y")], [again, "=", this.columnMatrix("cols")]];
  }

  weightsStep() {
    return [...this.ordered([this.outputMatrix("gy"), "×", this.transposed(this.columnMatrix("cols")), "=", this.weightMatrix("gw")],
      [...this.images("x"), "⋆", ...this.maps("gy"), "=", ...this.kernels("gw")]), this.biases("gb")];
  }

  gcolsStep() {
    return this.ordered([this.transposed(this.weightMatrix("w")), "×", this.outputMatrix("gy"), "=", this.columnMatrix("gcols")],
      [...this.kernels("w"), ...this.maps("gy")]);
  }

  col2imStep() {
    const counts = {id: "counts", caption: t("conv.counts"), rows: this.H, cols: this.W,
      cell: (hh, v) => new Ref("gx", [this.inputs()[0], hh, v], [...this.windowsOf(hh, v)].length)};
    const gcols = this.columnMatrix("gcols");
    return this.large ? [[...this.images("gx"), counts, ...this.maps("gy")], [gcols]] : [[gcols, "→", ...this.images("gx")], [counts, ...this.maps("gy")]];
  }

  /* gy spread by the stride and surrounded by zeros, correlated with the kernel turned by 180°. */
  turnedStep() {
    const spreadRows = this.dh * (this.KH - 1), spreadCols = this.dw * (this.KW - 1);
    const first = spreadRows - this.top, left = spreadCols - this.left, o = this.o, c = this.c % this.CG;
    const zero = {value: 0};
    const spread = {id: "gy-spread", caption: t("conv.spread", {o}), rows: this.H + spreadRows, cols: this.W + spreadCols,
      cell: (r, s) => {
        const i = (r - first) / this.sh, j = (s - left) / this.sw;
        const there = Number.isInteger(i) && Number.isInteger(j) && i >= 0 && j >= 0 && i < this.OH && j < this.OW;
        return there ? this.at("gy", o, i, j) : zero;
      },
      frame: (e) => (e.name === "gx" ? {row: e.h, col: e.v, rows: spreadRows + 1, cols: spreadCols + 1} : null)};
    const turned = {id: "w-turned", caption: t("conv.turned", {o, c}), rows: spreadRows + 1, cols: spreadCols + 1,
      cell: (r, s) => (r % this.dh || s % this.dw ? zero : this.at("w", o, c, this.KH - 1 - r / this.dh, this.KW - 1 - s / this.dw))};
    const between = {id: "gy-kernel", caption: t("conv.spread", {o}), rows: this.sh * (this.OH - 1) + 1, cols: this.sw * (this.OW - 1) + 1,
      cell: (r, s) => (r % this.sh || s % this.sw ? zero : this.at("gy", o, r / this.sh, s / this.sw))};
    const only = (panels, id) => panels.filter((panel) => panel.id === id);
    const C = this.g * this.CG + c;
    return [[spread, "⋆", turned, "=", ...only(this.images("gx"), `gx-${C}`)],
      [...only(this.images("x"), `x-${C}`), "⋆", between, "=", ...only(this.kernels("gw"), `gw-${o}-${c}`)]];
  }

  loopsStep() {
    return [[{code: t("conv.code", {groups: this.groups})}], [...this.kernels("w"), ...this.maps("gy"), ...this.images("gx")],
      [...this.images("x"), ...this.maps("y"), ...this.kernels("gw")]];
  }
}
