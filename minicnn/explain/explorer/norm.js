// Batch normalisation. A channel is drawn as a matrix: a row for each image of the batch, a column for each pixel.

class BatchNorm extends Operation {
  constructor(scene) {
    super(scene);
    [this.N, this.C, ...this.size] = this.tensors.x.shape;
    this.L = this.size.reduce((product, n) => product * n, 1);
    this.training = scene.settings.training;
    this.c = 0;
    if (this.C > FEW) this.channels.c = this.available("y", 1);
    this.family = "norm";
    const learned = ["gw", "gb"].filter((name) => name in this.tensors);
    this.sums = ["x_hat", "y", ...learned, ...(this.training ? ["of_mean", "of_var"] : []), "gx"];
    this.steps = [
      this.step("normalise", this.start("y"), this.normaliseStep),
      this.step("sums", "gw" in this.tensors ? this.start("gw") : this.start("gx"), this.sumsStep),
      this.step(this.training ? "three" : "one", this.start("gx"), this.termsStep),
    ];
  }

  channelAxis(channel, name) {
    return this.tensors[name].shape.length > 1 ? 1 : 0;
  }

  follow({c}) {
    const other = c !== undefined && c !== this.c;
    if (other) this.c = c;
    return other && this.C > FEW;
  }

  /* A number of the channel, at the same place as another one. */
  beside(name, index) {
    return name in this.tensors ? this.at(name, ...index) : null;
  }

  *places(c) {
    for (let n = 0; n < this.N; n++) {
      for (let l = 0; l < this.L; l++) yield [n, c, ...unravel(l, this.size)];
    }
  }

  explain_x_hat(...index) {
    const c = index[1],
      [x, mean, scale] = [this.at("x", ...index), this.at("mean", c), this.at("inv_std", c)];
    const difference = {factors: [x, mean], sign: "−", also: [], value: this.round(x.value - mean.value)};
    return this.explanation("x_hat", index, [difference], {
      c,
      then: ["·", scale],
      value: this.round(difference.value * scale.value),
    });
  }

  explain_y(...index) {
    const c = index[1],
      x = this.at("x_hat", ...index),
      w = this.beside("w", [c]),
      b = this.beside("b", [c]);
    const scaled = w ? this.product(x, w) : this.term(x);
    return this.explanation("y", index, [scaled], {
      c,
      then: ["+", b],
      value: b ? this.round(scaled.value + b.value) : scaled.value,
    });
  }

  explain_gw(c) {
    const terms = [...this.places(c)].map((index) => this.product(this.at("gy", ...index), this.at("x_hat", ...index)));
    return this.explanation("gw", [c], terms, {c, value: this.addAndRound(terms)});
  }

  explain_gb(c) {
    const terms = [...this.places(c)].map((index) => this.term(this.at("gy", ...index)));
    return this.explanation("gb", [c], terms, {c, value: this.addAndRound(terms)});
  }

  /* How many numbers share a mean, as a cell. */
  count() {
    return new Ref("m", [], this.N * this.L);
  }

  explain_of_mean(...index) {
    const c = index[1],
      gb = this.at("gb", c),
      m = this.count();
    const share = {factors: [gb, m], sign: "/", also: [], value: this.round(gb.value / m.value)};
    return this.explanation("of_mean", index, [share], {c, value: -share.value});
  }

  explain_of_var(...index) {
    const c = index[1],
      gw = this.at("gw", c),
      m = this.count(),
      x = this.at("x_hat", ...index);
    const share = {factors: [gw, m], sign: "/", also: [], value: this.round(gw.value / m.value)};
    return this.explanation("of_var", index, [share], {c, then: ["·", x], value: this.round(-share.value * x.value)});
  }

  explain_gx(...index) {
    const c = index[1],
      names = this.training ? ["gy", "of_mean", "of_var"] : ["gy"];
    const terms = names.map((name) => this.term(this.at(name, ...index))),
      scale = this.at("scale", c);
    return this.explanation("gx", index, terms, {
      c,
      then: ["·", scale],
      value: this.round(scale.value * this.add(terms)),
    });
  }

  explain_mean(c) {
    return this.given("mean", [c], {
      c,
      lit: [...this.places(c)].map((index) => `x:${index}`),
      note: t(this.training ? "norm.batch" : "norm.running"),
    });
  }

  explain_inv_std(c) {
    return this.given("inv_std", [c], {
      c,
      lit: [...this.places(c)].map((index) => `x:${index}`),
      note: t("norm.inv_std"),
    });
  }

  explain_scale(c) {
    return this.given("scale", [c], {c, lit: [`w:${c}`, `inv_std:${c}`], note: t("norm.scale")});
  }

  // -- pictures ------------------------------------------------------------------------------------------------------

  matrices(name) {
    const shown = this.C <= FEW ? Array.from({length: this.C}, (_, c) => c) : [this.c];
    return shown.map((c) => ({
      id: `${name}-${c}`,
      caption: `${t(`norm.name.${name}`)}[·,${c}]`,
      ...this.shape(),
      cell: (r, s) =>
        this.at(
          name,
          ...(this.N > 1 ? [r, c, ...unravel(s, this.size)] : [0, c, ...unravel(r * this.shape().cols + s, this.size)]),
        ),
    }));
  }

  /* Of a single image the rows are those of the image. */
  shape() {
    const cols = this.N > 1 ? this.L : this.size[this.size.length - 1] || 1;
    return {rows: this.N > 1 ? this.N : this.L / cols, cols};
  }

  vector(name) {
    return name in this.tensors
      ? [
          {
            id: name,
            caption: t(`norm.name.${name}`),
            rows: this.C,
            cols: 1,
            cell: (c) => this.at(name, c),
            corner: (e) => [e.c, 0],
          },
        ]
      : [];
  }

  normaliseStep() {
    return [
      [...this.matrices("x"), ...this.vector("mean"), ...this.vector("inv_std"), "→", ...this.matrices("x_hat")],
      [...this.vector("w"), ...this.vector("b"), "→", ...this.matrices("y")],
    ];
  }

  sumsStep() {
    return [
      [...this.matrices("gy"), ...this.matrices("x_hat")],
      [...this.vector("gw"), ...this.vector("gb")],
    ];
  }

  termsStep() {
    const terms = this.training ? ["gy", "of_mean", "of_var"] : ["gy"];
    const sum = terms.flatMap((name, k) => [...(k ? ["+"] : []), ...this.matrices(name)]);
    return [sum, ["·", ...this.vector("scale"), "=", ...this.matrices("gx")]];
  }
}
