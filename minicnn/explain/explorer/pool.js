// Pooling: the largest element of each window, or the mean. Arrays are x (C, H, W), y (C, OH, OW), gx and gy.

class Pooling extends Operation {
  constructor(scene) {
    super(scene);
    Object.assign(this, {rows: scene.settings.rows, columns: scene.settings.columns, c: 0, sums: ["y", "gx"]});
    [this.stepDown, this.stepRight] = scene.settings.step || [1, 1];
    [this.C, this.H, this.W] = this.tensors.x.shape;
    [, this.OH, this.OW] = this.tensors.y.shape;
    if (this.C > FEW) this.channels.c = this.available("y");
  }

  follow({c}) {
    const other = c !== undefined && c !== this.c;
    if (other) this.c = c;
    return other && this.C > FEW;
  }

  /* The pixels of window (i, j), row by row. */
  pixels(i, j) {
    const found = [],
      [top, bottom] = this.rows[i],
      [left, right] = this.columns[j];
    for (let hh = top; hh < bottom; hh += this.stepDown) {
      for (let v = left; v < right; v += this.stepRight) found.push([hh, v]);
    }
    return found;
  }

  /* The windows in which a pixel lies, row by row. */
  windows(hh, v) {
    const within = ([start, stop], place, step) => place >= start && place < stop && (place - start) % step === 0,
      found = [];
    for (let i = 0; i < this.OH; i++) {
      if (!within(this.rows[i], hh, this.stepDown)) continue;
      for (let j = 0; j < this.OW; j++) {
        if (within(this.columns[j], v, this.stepRight)) found.push([i, j]);
      }
    }
    return found;
  }

  explain_x(c, hh, v) {
    const windows = this.windows(hh, v);
    return this.given("x", [c, hh, v], {
      c,
      lit: windows.map(([i, j]) => `y:${c},${i},${j}`),
      note: t("pool.windows", {n: windows.length}),
    });
  }

  explain_gy(c, i, j) {
    return this.given("gy", [c, i, j], {c, i, j, note: t("conv.gy")});
  }

  // -- pictures ------------------------------------------------------------------------------------------------------

  shown() {
    return this.C <= FEW ? Array.from({length: this.C}, (_, c) => c) : [this.c];
  }

  images(name) {
    return this.shown().map((c) => ({
      id: `${name}-${c}`,
      caption: `${name}[${c}]`,
      rows: this.H,
      cols: this.W,
      cell: (hh, v) => this.at(name, c, hh, v),
      frame: (e) =>
        e.i === undefined || e.c !== c
          ? null
          : {
              row: this.rows[e.i][0],
              col: this.columns[e.j][0],
              rows: this.rows[e.i][1] - this.rows[e.i][0],
              cols: this.columns[e.j][1] - this.columns[e.j][0],
            },
    }));
  }

  maps(name) {
    return this.shown().map((c) => ({
      id: `${name}-${c}`,
      caption: `${name}[${c}]`,
      rows: this.OH,
      cols: this.OW,
      cell: (i, j) => this.at(name, c, i, j),
    }));
  }

  /* A number for each pixel of the channel chosen, drawn over gx. */
  counts(id, caption, count) {
    return {
      id,
      caption,
      rows: this.H,
      cols: this.W,
      cell: (hh, v) => new Ref("gx", [this.c, hh, v], count(this.c, hh, v)),
    };
  }

  overlaps() {
    return this.counts("overlaps", t("pool.overlaps"), (c, hh, v) => this.windows(hh, v).length);
  }
}

class MaxPooling extends Pooling {
  constructor(scene) {
    super(scene);
    this.family = "max_pool";
    this.steps = [
      this.step("max", this.start("y"), this.forward),
      this.step("winners", this.start("gx"), this.backward),
    ];
  }

  /* The windows whose largest element is this pixel; of equals, the first is. */
  won(c, hh, v) {
    return this.windows(hh, v).filter(([i, j]) => this.at("index", c, i, j).value === hh * this.W + v);
  }

  explain_y(c, i, j) {
    const terms = this.pixels(i, j).map(([hh, v]) => this.term(this.at("x", c, hh, v)));
    const value = Math.max(...terms.map((term) => term.value)),
      equals = terms.filter((term) => term.value === value);
    const note = equals.length > 1 ? t("pool.tie", {n: equals.length, winner: label(equals[0].factors[0])}) : "";
    const e = this.explanation("y", [c, i, j], terms, {c, i, j, value, sign: "max", note});
    e.light = () => new Set([equals[0].factors[0].key, `index:${c},${i},${j}`]);
    return e;
  }

  explain_index(c, i, j) {
    const place = this.at("index", c, i, j).value,
      winner = `x:${c},${Math.floor(place / this.W)},${place % this.W}`;
    return this.given("index", [c, i, j], {
      c,
      i,
      j,
      lit: [winner, `y:${c},${i},${j}`],
      note: t("pool.index", {x: winner.replace(":", "[") + "]"}),
    });
  }

  explain_gx(c, hh, v) {
    const won = this.won(c, hh, v),
      lost = this.windows(hh, v).length - won.length;
    const terms = won.map(([i, j]) => ({...this.term(this.at("gy", c, i, j)), also: [`index:${c},${i},${j}`]}));
    return this.explanation("gx", [c, hh, v], terms, {
      c,
      lit: [`x:${c},${hh},${v}`],
      note: lost ? t("pool.lost", {n: lost}) : "",
    });
  }

  forward() {
    return [[...this.images("x"), "→", ...this.maps("y")], [...this.maps("index")]];
  }

  backward() {
    return [
      [...this.maps("gy"), "→", ...this.images("gx")],
      [
        ...this.images("x"),
        this.counts("won", t("pool.won"), (c, hh, v) => this.won(c, hh, v).length),
        this.overlaps(),
      ],
    ];
  }
}

class AveragePooling extends Pooling {
  constructor(scene) {
    super(scene);
    this.family = "avg_pool";
    this.divisor = scene.settings.divisor;
    this.steps = [
      this.step("mean", this.start("y"), this.forward),
      this.step("shares", this.start("gx"), this.backward),
    ];
  }

  /* The number of elements of a window as a cell, for what follows a sum. */
  count(i, j) {
    return new Ref("n", [i, j], this.divisor[i][j]);
  }

  explain_y(c, i, j) {
    const terms = this.pixels(i, j).map(([hh, v]) => this.term(this.at("x", c, hh, v)));
    const sum = terms.reduce((total, term) => total + term.value, 0);
    return this.explanation("y", [c, i, j], terms, {
      c,
      i,
      j,
      value: this.round(sum / this.divisor[i][j]),
      then: ["/", this.count(i, j)],
    });
  }

  explain_gx(c, hh, v) {
    const terms = this.windows(hh, v).map(([i, j]) => {
      const gy = this.at("gy", c, i, j);
      return {factors: [gy, this.count(i, j)], sign: "/", also: [], value: this.round(gy.value / this.divisor[i][j])};
    });
    return this.explanation("gx", [c, hh, v], terms, {c});
  }

  forward() {
    return [[...this.images("x"), "→", ...this.maps("y")]];
  }

  backward() {
    return [[...this.maps("gy"), "→", ...this.images("gx")], [this.overlaps()]];
  }
}
