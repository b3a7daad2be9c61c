// The steps of a convolution, forward and backward.

class ConvolutionSteps extends ConvolutionPanels {
  constructor(scene) {
    super(scene);
    this.steps = this.H * this.W * this.KH * this.KW === 1 ? this.ofOnePixel() : this.ofImages();
  }

  ofImages() {
    const gx = this.busiest(),
      [o, i, j] = this.tensors.gy.blocks[0].start,
      c = this.c % this.CG;
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
      this.step("linear_y", this.start("y"), () => [
        [
          this.weightMatrix("w"),
          "×",
          this.pixelMatrix("x"),
          ...this.biases("b").flatMap((b) => ["+", b]),
          "=",
          this.outputMatrix("y"),
        ],
      ]),
      this.step("linear_gw", this.start("gw"), () => [
        [this.outputMatrix("gy"), "×", this.transposed(this.pixelMatrix("x")), "=", this.weightMatrix("gw")],
        this.biases("gb"),
      ]),
      this.step("linear_gx", this.start("gx"), () => [
        [this.transposed(this.weightMatrix("w")), "×", this.outputMatrix("gy"), "=", this.pixelMatrix("gx")],
      ]),
    ];
  }

  /* A pixel that lies in the most windows; of a large image, the one with the greatest gradient. */
  busiest() {
    const {
      start: [c, top, left],
      shape: [, rows, cols],
    } = this.tensors.gx.blocks[0];
    if (rows * cols > LARGE) return this.start("gx");
    let most = 0,
      place = [top, left];
    for (let hh = top; hh < top + rows; hh++) {
      for (let v = left; v < left + cols; v++) {
        const count = [...this.windowsOf(hh, v)].length;
        if (count > most) [most, place] = [count, [hh, v]];
      }
    }
    return `gx:${c},${place}`;
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
    return this.large
      ? [[...this.images("x"), "→", ...this.maps("y")], [cols]]
      : [[...this.images("x"), "→", cols], this.maps("y")];
  }

  productStep() {
    return this.ordered(
      [this.weightMatrix("w"), "×", this.columnMatrix("cols"), "=", this.outputMatrix("y")],
      [
        ...this.images("x"),
        "⋆",
        ...this.kernels("w"),
        ...this.biases("b").flatMap((b) => ["+", b]),
        "=",
        ...this.maps("y"),
      ],
    );
  }

  linearStep() {
    const again = {...this.pixelMatrix("x"), id: "x-matrix-again"};
    return [
      [this.weightMatrix("w"), "×", this.pixelMatrix("x"), "=", this.outputMatrix("y")],
      [again, "=", this.columnMatrix("cols")],
    ];
  }

  weightsStep() {
    return [
      ...this.ordered(
        [this.outputMatrix("gy"), "×", this.transposed(this.columnMatrix("cols")), "=", this.weightMatrix("gw")],
        [...this.images("x"), "⋆", ...this.maps("gy"), "=", ...this.kernels("gw")],
      ),
      this.biases("gb"),
    ];
  }

  gcolsStep() {
    return this.ordered(
      [this.transposed(this.weightMatrix("w")), "×", this.outputMatrix("gy"), "=", this.columnMatrix("gcols")],
      [...this.kernels("w"), ...this.maps("gy")],
    );
  }

  col2imStep() {
    const counts = {
      id: "counts",
      caption: t("conv.counts"),
      rows: this.H,
      cols: this.W,
      cell: (hh, v) => new Ref("gx", [this.inputs()[0], hh, v], [...this.windowsOf(hh, v)].length),
    };
    const gcols = this.columnMatrix("gcols");
    return this.large
      ? [[...this.images("gx"), counts, ...this.maps("gy")], [gcols]]
      : [
          [gcols, "→", ...this.images("gx")],
          [counts, ...this.maps("gy")],
        ];
  }

  /* gy spread by the stride and surrounded by zeros, correlated with the kernel turned by 180°. */
  turnedStep() {
    const spreadRows = this.dh * (this.KH - 1),
      spreadCols = this.dw * (this.KW - 1);
    const first = spreadRows - this.top,
      left = spreadCols - this.left,
      o = this.o,
      c = this.c % this.CG;
    const zero = {value: 0};
    const spread = {
      id: "gy-spread",
      caption: t("conv.spread", {o}),
      rows: this.H + spreadRows,
      cols: this.W + spreadCols,
      cell: (r, s) => {
        const i = (r - first) / this.sh,
          j = (s - left) / this.sw;
        const there = Number.isInteger(i) && Number.isInteger(j) && i >= 0 && j >= 0 && i < this.OH && j < this.OW;
        return there ? this.at("gy", o, i, j) : zero;
      },
      frame: (e) => (e.name === "gx" ? {row: e.h, col: e.v, rows: spreadRows + 1, cols: spreadCols + 1} : null),
    };
    const turned = {
      id: "w-turned",
      caption: t("conv.turned", {o, c}),
      rows: spreadRows + 1,
      cols: spreadCols + 1,
      cell: (r, s) =>
        r % this.dh || s % this.dw ? zero : this.at("w", o, c, this.KH - 1 - r / this.dh, this.KW - 1 - s / this.dw),
    };
    const between = {
      id: "gy-kernel",
      caption: t("conv.spread", {o}),
      rows: this.sh * (this.OH - 1) + 1,
      cols: this.sw * (this.OW - 1) + 1,
      cell: (r, s) => (r % this.sh || s % this.sw ? zero : this.at("gy", o, r / this.sh, s / this.sw)),
    };
    const only = (panels, id) => panels.filter((panel) => panel.id === id);
    const C = this.g * this.CG + c;
    return [
      [spread, "⋆", turned, "=", ...only(this.images("gx"), `gx-${C}`)],
      [...only(this.images("x"), `x-${C}`), "⋆", between, "=", ...only(this.kernels("gw"), `gw-${o}-${c}`)],
    ];
  }

  loopsStep() {
    return [
      [{code: t("conv.code", {groups: this.groups})}],
      [...this.kernels("w"), ...this.maps("gy"), ...this.images("gx")],
      [...this.images("x"), ...this.maps("y"), ...this.kernels("gw")],
    ];
  }
}
