// Operations on rows and on single elements: the loss, dropout, and all layers whose sums are not explained.

/* −log softmax: its gradient is what is predicted less what is true. */
class CrossEntropy extends Operation {
  constructor(scene) {
    super(scene);
    [this.N, this.K] = this.tensors.x.shape;
    Object.assign(this, {family: "loss", sums: ["gx"]});
    this.steps = [
      this.step("softmax", this.start("p"), this.forward),
      this.step("difference", this.start("gx"), this.backward),
    ];
  }

  /* 1 for the true class of a row, else 0. */
  truth(n, k) {
    return new Ref("target", [n], this.at("target", n).value === k ? 1 : 0);
  }

  explain_p(n, k) {
    return this.given("p", [n, k], {
      lit: Array.from({length: this.K}, (_, other) => `x:${n},${other}`),
      note: t("loss.p"),
    });
  }

  explain_y(n) {
    return this.given("y", [n], {lit: [`p:${n},${this.at("target", n).value}`, `target:${n}`], note: t("loss.y")});
  }

  explain_gx(n, k) {
    const p = this.at("p", n, k),
      truth = this.truth(n, k),
      gy = this.at("gy", n);
    const difference = {factors: [p, truth], sign: "−", also: [], value: this.round(p.value - truth.value)};
    return this.explanation("gx", [n, k], [difference], {
      then: ["·", gy],
      value: this.round(gy.value * difference.value),
    });
  }

  matrix(name, caption = name, cell = (n, k) => this.at(name, n, k)) {
    return {id: caption, caption, rows: this.N, cols: this.K, cell};
  }

  vector(name) {
    return {id: name, caption: name, rows: this.N, cols: 1, cell: (n) => this.at(name, n)};
  }

  forward() {
    return [
      [this.matrix("x"), "→", this.matrix("p")],
      [this.vector("target"), "→", this.vector("y")],
    ];
  }

  backward() {
    return [
      [
        this.matrix("p"),
        "−",
        this.matrix("target", t("loss.truth"), (n, k) => this.truth(n, k)),
        "·",
        this.vector("gy"),
      ],
      ["=", this.matrix("gx")],
    ];
  }
}

/* Layers of which only what goes in and what comes out is known. Equal shapes are taken to belong together. */
class Plain extends Operation {
  constructor(scene) {
    super(scene);
    Object.assign(this, {family: "plain", sums: [], c: 0});
    this.steps = [
      this.step("forward", this.start("y"), () => this.rows("x", "y")),
      this.step("backward", this.start("gy"), () => this.rows("gy", "gx")),
    ];
    const depth = Math.max(...["x", "y"].map((name) => this.layout(name).planes));
    if (depth > FEW)
      this.channels.c =
        this.tensors.y.shape.length > 2 ? this.available("y") : Array.from({length: depth}, (_, c) => c);
  }

  /* How a tensor is drawn: planes of rows and columns; a vector in lines of 32. */
  layout(name) {
    const shape = this.tensors[name].shape,
      all = shape.reduce((product, n) => product * n, 1);
    const cols = shape.length > 1 ? shape[shape.length - 1] : Math.min(shape[0], 32);
    const rows = shape.length > 2 ? shape[shape.length - 2] : Math.ceil(all / cols);
    return {shape, all, cols, rows, planes: Math.ceil(all / rows / cols)};
  }

  follow({c}) {
    const other = c !== undefined && c !== this.c;
    if (other) this.c = c;
    return other;
  }

  explain({name, index}) {
    const others = ["x", "y", "gx", "gy"].filter(
      (other) => other in this.tensors && String(this.tensors[other].shape) === String(this.tensors[name].shape),
    );
    return this.given(name, index, {
      lit: others.map((other) => `${other}:${index}`),
      note: others.map((other) => `${other} = ${exact(this.at(other, ...index).value, this.round)}`).join(",  "),
    });
  }

  planes(name) {
    if (!(name in this.tensors)) return [];
    const {shape, rows, cols, planes, all} = this.layout(name);
    const shown = planes <= FEW ? Array.from({length: planes}, (_, c) => c) : [Math.min(this.c, planes - 1)];
    return shown.map((plane) => ({
      id: `${name}-${plane}`,
      caption: planes > 1 ? `${name}[${plane}]` : name,
      rows,
      cols,
      cell: (r, s) => {
        const place = (plane * rows + r) * cols + s;
        return place < all ? this.at(name, ...unravel(place, shape)) : null;
      },
    }));
  }

  rows(from, to) {
    return [[...this.planes(from), "→", ...this.planes(to)]];
  }
}

/* Each element is kept and scaled, or dropped, forward and backward alike. */
class Dropout extends Plain {
  constructor(scene) {
    super(scene);
    Object.assign(this, {family: "dropout", sums: ["y", "gx"]});
    this.steps = [
      this.step("drop", this.start("y"), () => this.masked("x", "y")),
      this.step("same_mask", this.start("gx"), () => this.masked("gy", "gx")),
    ];
  }

  explain({name, index}) {
    const source = {y: "x", gx: "gy"}[name];
    if (!source) return this.given(name, index, {});
    return this.explanation(name, index, [this.product(this.at(source, ...index), this.at("mask", ...index))]);
  }

  masked(from, to) {
    return [
      [...this.planes(from), "·", ...this.planes("mask")],
      ["=", ...this.planes(to)],
    ];
  }
}
