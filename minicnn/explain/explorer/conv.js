// Convolution: which products make each number, and the pictures in which they are shown.
//
// Arrays are x (C, H, W), w (O, C/G, KH, KW), b (O), y (O, OH, OW) and their gradients gx, gw, gb, gy. The column
// matrices have a row for each weight of a kernel, r = (c·KH + p)·KW + q, and a column for each window, l = i·OW + j.

class Convolution extends Operation {
  constructor(scene) {
    super(scene);
    this.family = "conv";
    const {stride, padding, dilation, groups} = scene.settings;
    [this.C, this.H, this.W] = this.tensors.x.shape;
    [this.O, this.CG, this.KH, this.KW] = this.tensors.w.shape;
    [, this.OH, this.OW] = this.tensors.y.shape;
    [this.sh, this.sw] = stride;
    [this.dh, this.dw] = dilation;
    [[this.top], [this.left]] = padding;
    [[, this.bottom], [, this.right]] = padding;
    this.groups = groups;
    this.OG = this.O / groups;
    this.sums = ["y", "gx", "gw", ...("gb" in this.tensors ? ["gb"] : [])];
    this.isLinear =
      this.KH === 1 &&
      this.KW === 1 &&
      [this.sh, this.sw].every((s) => s === 1) &&
      [this.top, this.left, this.bottom, this.right].every((p) => p === 0);
  }

  group(o) {
    return Math.floor(o / this.OG);
  }

  /* The pixel (h, v) that weight (p, q) meets in window (i, j); it may lie in the padding. */
  pixel(i, j, p, q) {
    return [i * this.sh + p * this.dh - this.top, j * this.sw + q * this.dw - this.left];
  }

  inside(hh, v) {
    return hh >= 0 && hh < this.H && v >= 0 && v < this.W;
  }

  row(c, p, q) {
    return (c * this.KH + p) * this.KW + q;
  }

  weightOf(row) {
    return [Math.floor(row / (this.KH * this.KW)), Math.floor(row / this.KW) % this.KH, row % this.KW];
  }

  /* The windows (i, j) in which pixel (h, v) lies, in order, each with the weight (p, q) that it meets there. */
  *windowsOf(hh, v) {
    for (let i = 0; i < this.OH; i++) {
      const p = (hh + this.top - i * this.sh) / this.dh;
      if (!Number.isInteger(p) || p < 0 || p >= this.KH) continue;
      for (let j = 0; j < this.OW; j++) {
        const q = (v + this.left - j * this.sw) / this.dw;
        if (Number.isInteger(q) && q >= 0 && q < this.KW) yield [i, j, p, q];
      }
    }
  }

  // -- the numbers of the column matrices --------------------------------------------------------------------------

  cols(g, row, l) {
    const [c, p, q] = this.weightOf(row),
      [hh, v] = this.pixel(Math.floor(l / this.OW), l % this.OW, p, q);
    const inside = this.inside(hh, v),
      value = inside ? this.at("x", g * this.CG + c, hh, v).value : 0;
    return Object.assign(new Ref("cols", [g, row, l], value), {padding: !inside});
  }

  gcols(g, row, l) {
    const value = this.add(this.gcolsTerms(g, row, l));
    return new Ref("gcols", [g, row, l], Number.isNaN(value) ? undefined : value);
  }

  gcolsTerms(g, row, l) {
    const [c, p, q] = this.weightOf(row),
      terms = [];
    for (let o = g * this.OG; o < (g + 1) * this.OG; o++) {
      terms.push(this.product(this.at("w", o, c, p, q), this.at("gy", o, Math.floor(l / this.OW), l % this.OW)));
    }
    return terms;
  }

  // -- sums of products --------------------------------------------------------------------------------------------

  explain_y(o, i, j) {
    const g = this.group(o),
      l = i * this.OW + j,
      terms = [],
      lit = [];
    for (let c = 0; c < this.CG; c++) {
      for (let p = 0; p < this.KH; p++) {
        for (let q = 0; q < this.KW; q++) {
          const [hh, v] = this.pixel(i, j, p, q),
            cell = `cols:${g},${this.row(c, p, q)},${l}`;
          if (this.inside(hh, v))
            terms.push(this.product(this.at("w", o, c, p, q), this.at("x", g * this.CG + c, hh, v), cell));
          else lit.push(cell, `x:${g * this.CG + c},${hh},${v}`, `w:${o},${c},${p},${q}`);
        }
      }
    }
    const b = "b" in this.tensors ? this.at("b", o) : null,
      sum = this.add(terms);
    return this.explanation("y", [o, i, j], terms, {
      lit,
      o,
      i,
      j,
      l,
      value: b ? this.round(sum + b.value) : sum,
      then: ["+", b],
    });
  }

  explain_gx(C, hh, v) {
    const g = Math.floor(C / this.CG),
      c = C % this.CG,
      terms = [];
    const windows = [...this.windowsOf(hh, v)];
    for (let o = g * this.OG; o < (g + 1) * this.OG; o++) {
      for (const [i, j, p, q] of windows) {
        terms.push(
          this.product(
            this.at("w", o, c, p, q),
            this.at("gy", o, i, j),
            `gcols:${g},${this.row(c, p, q)},${i * this.OW + j}`,
          ),
        );
      }
    }
    const middle = windows[Math.floor(windows.length / 2)]; // to have as many as possible in sight
    return this.explanation("gx", [C, hh, v], terms, {
      c: C,
      h: hh,
      v,
      row: middle && this.row(c, middle[2], middle[3]),
      l: middle && middle[0] * this.OW + middle[1],
    });
  }

  explain_gw(o, c, p, q) {
    const g = this.group(o),
      terms = [],
      lit = [];
    for (let i = 0; i < this.OH; i++) {
      for (let j = 0; j < this.OW; j++) {
        const [hh, v] = this.pixel(i, j, p, q),
          cell = `cols:${g},${this.row(c, p, q)},${i * this.OW + j}`;
        if (this.inside(hh, v))
          terms.push(this.product(this.at("gy", o, i, j), this.at("x", g * this.CG + c, hh, v), cell));
        else lit.push(cell, `x:${g * this.CG + c},${hh},${v}`, `gy:${o},${i},${j}`);
      }
    }
    return this.explanation("gw", [o, c, p, q], terms, {lit, o, c: g * this.CG + c, p, q, row: this.row(c, p, q)});
  }

  explain_gb(o) {
    const terms = [];
    for (let i = 0; i < this.OH; i++) {
      for (let j = 0; j < this.OW; j++) {
        terms.push(this.term(this.at("gy", o, i, j)));
      }
    }
    return this.explanation("gb", [o], terms, {o, value: this.addAndRound(terms)});
  }

  explain_gcols(g, row, l) {
    const [c, p, q] = this.weightOf(row),
      i = Math.floor(l / this.OW),
      j = l % this.OW,
      [hh, v] = this.pixel(i, j, p, q);
    return this.explanation("gcols", [g, row, l], this.gcolsTerms(g, row, l), {
      lit: [`gx:${g * this.CG + c},${hh},${v}`],
      c: g * this.CG + c,
      row,
      l,
      i,
      j,
      derived: true,
    });
  }

  /* Numbers that are no sums: what is made of them. */
  explain_cols(g, row, l) {
    const [c, p, q] = this.weightOf(row),
      i = Math.floor(l / this.OW),
      j = l % this.OW,
      [hh, v] = this.pixel(i, j, p, q);
    const x = `x:${g * this.CG + c},${hh},${v}`;
    return this.given("cols", [g, row, l], {
      value: this.cols(g, row, l).value,
      lit: [x],
      c: g * this.CG + c,
      row,
      l,
      i,
      j,
      note: t(this.inside(hh, v) ? "conv.copy" : "conv.padding", {x: `x[${g * this.CG + c},${hh},${v}]`}),
    });
  }

  explain_x(C, hh, v) {
    const g = Math.floor(C / this.CG),
      c = C % this.CG,
      lit = [];
    const windows = [...this.windowsOf(hh, v)];
    for (const [i, j, p, q] of windows) lit.push(`cols:${g},${this.row(c, p, q)},${i * this.OW + j}`);
    return this.given("x", [C, hh, v], {
      value: this.inside(hh, v) ? this.at("x", C, hh, v).value : 0,
      lit,
      c: C,
      note: t("conv.copies", {n: windows.length}),
    });
  }

  explain_w(o, c, p, q) {
    return this.given("w", [o, c, p, q], {o, c: this.group(o) * this.CG + c, row: this.row(c, p, q)});
  }

  explain_gy(o, i, j) {
    return this.given("gy", [o, i, j], {o, l: i * this.OW + j, note: t("conv.gy")});
  }

  explain_b(o) {
    return this.given("b", [o], {o});
  }
}
