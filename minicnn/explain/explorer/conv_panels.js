// The pictures of a convolution: maps, kernels and matrices, of the channels chosen.

class ConvolutionPanels extends Convolution {
  constructor(scene) {
    super(scene);
    [this.o] = this.available("y");
    [this.c] = this.available("gx");
    if (this.O > FEW) this.channels.o = this.available("y");
    if (this.CG > FEW) this.channels.c = this.available("gx");
  }

  // -- which channels ----------------------------------------------------------------------------------------------

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

  channelAxis(channel, name) {
    return (channel === "o" ? ["w", "b", "y", "gw", "gb", "gy"] : ["x", "gx"]).includes(name) ? 0 : -1;
  }

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
    const top = name === "x" ? this.top : 0,
      left = name === "x" ? this.left : 0;
    return this.inputs().map((c) => ({
      id: `${name}-${c}`,
      caption: `${name}[${c}]`,
      rows: name === "x" ? this.H + this.top + this.bottom : this.H,
      cols: name === "x" ? this.W + this.left + this.right : this.W,
      cell: (r, s) => {
        const index = [c, r - top, s - left];
        return this.inside(index[1], index[2])
          ? this.at(name, ...index)
          : Object.assign(new Ref(name, index, 0), {padding: true});
      },
      frame: (e) => this.window(e, top - this.top, left - this.left),
    }));
  }

  /* The pixels that an output, or a weight, meets; in an image whose first pixel is this far from the padded one's. */
  window(e, down, right) {
    if (e.i !== undefined) {
      return {
        row: e.i * this.sh + down,
        col: e.j * this.sw + right,
        rows: this.dh * (this.KH - 1) + 1,
        cols: this.dw * (this.KW - 1) + 1,
      };
    }
    if (e.name !== "gw") return null;
    return {
      row: e.p * this.dh + down,
      col: e.q * this.dw + right,
      rows: this.sh * (this.OH - 1) + 1,
      cols: this.sw * (this.OW - 1) + 1,
    };
  }

  maps(name) {
    return this.outputs().map((o) => ({
      id: `${name}-${o}`,
      caption: `${name}[${o}]`,
      rows: this.OH,
      cols: this.OW,
      cell: (i, j) => this.at(name, o, i, j),
    }));
  }

  kernels(name) {
    return this.outputs().flatMap((o) => {
      const first = this.group(o) * this.CG;
      const inputs = this.inputs().filter((c) => c >= first && c < first + this.CG);
      return inputs.map((c) => ({
        id: `${name}-${o}-${c - first}`,
        caption: `${name}[${o},${c - first}]`,
        rows: this.KH,
        cols: this.KW,
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
    return {
      id: `${name}-matrix`,
      caption: `${name === "w" ? "W" : name}  ${this.OG} × ${this.CG * this.KH * this.KW}`,
      rows: this.OG,
      cols: this.CG * this.KH * this.KW,
      cell: (o, row) => this.at(name, g * this.OG + o, ...this.weightOf(row)),
      corner: (e) => [e.o === undefined ? e.o : e.o - g * this.OG, e.row],
    };
  }

  /* y or gy, a row for each channel (O/G × OH·OW). */
  outputMatrix(name) {
    const {g} = this;
    return {
      id: `${name}-matrix`,
      caption: `${name}  ${this.OG} × ${this.OH * this.OW}`,
      rows: this.OG,
      cols: this.OH * this.OW,
      cell: (o, l) => this.at(name, g * this.OG + o, Math.floor(l / this.OW), l % this.OW),
      corner: (e) => [e.o === undefined ? e.o : e.o - g * this.OG, e.l],
    };
  }

  /* x or gx, a row for each channel (C/G × H·W). */
  pixelMatrix(name) {
    const {g} = this;
    return {
      id: `${name}-matrix`,
      caption: `${name}  ${this.CG} × ${this.H * this.W}`,
      rows: this.CG,
      cols: this.H * this.W,
      cell: (c, l) => this.at(name, g * this.CG + c, Math.floor(l / this.W), l % this.W),
      corner: (e) => [e.c === undefined ? e.c : e.c - g * this.CG, e.h === undefined ? e.l : e.h * this.W + e.v],
    };
  }

  /* cols or gcols (C/G·KH·KW × OH·OW). */
  columnMatrix(name) {
    const {g} = this;
    return {
      id: name,
      caption: `${name}  ${this.CG * this.KH * this.KW} × ${this.OH * this.OW}`,
      rows: this.CG * this.KH * this.KW,
      cols: this.OH * this.OW,
      cell: (row, l) => (name === "cols" ? this.cols(g, row, l) : this.gcols(g, row, l)),
      corner: (e) => [e.row, e.l],
    };
  }

  transposed(panel) {
    return {
      ...panel,
      id: `${panel.id}-transposed`,
      caption: panel.caption.replace(/^(\w+)  (\d+) × (\d+)$/, "$1ᵀ  $3 × $2"),
      rows: panel.cols,
      cols: panel.rows,
      cell: (r, c) => panel.cell(c, r),
      corner: (e) => (panel.corner ? [...panel.corner(e)].reverse() : null),
    };
  }
}
