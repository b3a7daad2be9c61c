// The second view: the image, what the network answers, and where on the image the answer comes from.

const WIDE = 224; // pixels of a picture of the image

class NetworkView {
  constructor(data, tensors) {
    const of = (name) => data[name] && new Tensor(data[name]);
    Object.assign(this, {
      data,
      tensors,
      image: of("image"),
      saliency: of("saliency"),
      cam: of("cam"),
      filters: of("filters"),
    });
    this.influence = data.effective && new Tensor(data.effective.influence);
    [, this.H, this.W] = this.image.shape;
    this.scale = Math.max(1, Math.round(WIDE / this.W));
    this.unit = data.effective ? data.effective.unit : null;
  }

  /* All pictures, as elements of the page. */
  elements() {
    const {data} = this,
      [o, i, j] = this.unit || [],
      unit = this.unit ? `y[${this.unit}]` : "";
    this.overlay = h("canvas", {"data-picture": "image"});
    this.boxes();
    const names = {layer: data.layer, target: data.target, unit};
    const bars = data.top.flatMap(([name, p]) => [
      h("span", {}, name),
      h("i", {style: `width:${Math.max(1, 160 * p)}px`}),
      h("span", {}, `${(100 * p).toFixed(1)} %`),
    ]);
    const y = this.tensors.y,
      maps = y.shape.length === 3 ? this.channels(y).map((c) => this.map(c)) : [];
    const size = data.effective ? `${this.span(0, i)} × ${this.span(1, j)}` : "";
    const section = (title, note, ...parts) =>
      h("section", {}, h("h2", {}, title), note ? h("p", {}, note) : "", h("div", {class: "pictures"}, ...parts));
    return [
      section(t("network.answer"), "", h("div", {class: "bar"}, ...bars)),
      section(
        t("network.image"),
        `${t(data.field ? "network.field" : "network.nofield")} ${data.effective ? t("network.effective.note", {unit, size}) : ""}`,
        this.figure(t("network.image"), this.overlay),
        ...(this.influence ? [this.figure(t("network.effective", names), this.effective())] : []),
      ),
      section(
        t("network.why", names),
        this.cam && !this.largest(this.cam) ? t("network.cam.zero", {layer: data.cam_layer, target: data.target}) : "",
        this.figure(t("network.saliency"), this.over(this.saliency, "saliency")),
        ...(this.cam ? [this.figure(t("network.cam", {layer: data.cam_layer}), this.over(this.cam, "cam"))] : []),
      ),
      ...(maps.length ? [section(t("network.maps", names), "", ...maps)] : []),
      ...(this.filters ? [section(t("network.filters", {layer: data.filters_layer}), "", ...this.allFilters())] : []),
    ];
  }

  figure(caption, canvas) {
    return h("figure", {}, h("figcaption", {}, caption), canvas);
  }

  /* How many rows (axis 0) or columns a value sees. */
  span(axis, i) {
    const [first, stop] = this.data.field[axis][i];
    return stop - first;
  }

  // -- pictures ------------------------------------------------------------------------------------------------------

  paint(canvas, rows, cols, scale, colour) {
    canvas.width = cols * scale;
    canvas.height = rows * scale;
    const pen = canvas.getContext("2d");
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) {
        pen.fillStyle = colour(r, c);
        pen.fillRect(c * scale, r * scale, scale, scale);
      }
    }
    return pen;
  }

  pixel(r, c) {
    const channel = (k) => this.image.get(Math.min(k, this.image.shape[0] - 1), r, c);
    return `rgb(${channel(0)} ${channel(1)} ${channel(2)})`;
  }

  /* The image, the box of the value pointed at, and nothing else. */
  boxes() {
    const pen = this.paint(this.overlay, this.H, this.W, this.scale, (r, c) => this.pixel(r, c));
    if (this.data.field && this.unit)
      this.frame(pen, this.data.field[0][this.unit[1]], this.data.field[1][this.unit[2]]);
  }

  frame(pen, [top, bottom], [left, right], dash = []) {
    const {scale} = this;
    pen.strokeStyle = dash.length ? "white" : colours().focus;
    pen.lineWidth = 2;
    pen.setLineDash(dash);
    pen.strokeRect(left * scale + 1, top * scale + 1, (right - left) * scale - 2, (bottom - top) * scale - 2);
  }

  /* A map over the faded image, stretched to its size: the stronger, the more colour. */
  over(tensor, name) {
    const [rows, cols] = tensor.shape.slice(-2),
      largest = this.largest(tensor),
      canvas = h("canvas", {"data-picture": name});
    const pen = this.paint(canvas, this.H, this.W, this.scale, (r, c) => this.pixel(r, c));
    pen.fillStyle = "#0009";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    const high = canvas.height / rows,
      wide = canvas.width / cols;
    tensor.each((index) => {
      const [r, c] = index.slice(-2);
      pen.fillStyle = heat(largest ? tensor.get(...index) / largest : 0);
      pen.fillRect(c * wide, r * high, wide + 0.5, high + 0.5);
    });
    return canvas;
  }

  effective() {
    const canvas = this.over(this.influence, "effective"),
      pen = canvas.getContext("2d"),
      [top, bottom, left, right] = this.data.effective.box;
    const [, i, j] = this.data.effective.unit;
    this.frame(pen, this.data.field[0][i], this.data.field[1][j]);
    this.frame(pen, [top, bottom], [left, right], [4, 3]);
    return canvas;
  }

  largest(tensor, channel) {
    let most = 0;
    tensor.each((index) => {
      if (channel === undefined || index[0] === channel) most = Math.max(most, Math.abs(tensor.get(...index)));
    });
    return most;
  }

  /* The channels of which all is on the page. */
  channels(tensor) {
    const found = new Set();
    for (const {start, shape} of tensor.blocks) {
      if (shape[1] === tensor.shape[1] && shape[2] === tensor.shape[2])
        for (let k = 0; k < shape[0]; k++) found.add(start[0] + k);
    }
    return [...found].sort((a, b) => a - b);
  }

  map(c) {
    const {y} = this.tensors,
      [, rows, cols] = y.shape,
      scale = Math.max(1, Math.round(112 / Math.max(rows, cols)));
    const canvas = this.signed(rows, cols, scale, this.largest(y, c), (r, s) => y.get(c, r, s));
    canvas.setAttribute("data-picture", `map-${c}`);
    canvas.addEventListener("pointermove", (event) => {
      const i = Math.floor((event.offsetY / canvas.clientHeight) * rows),
        j = Math.floor((event.offsetX / canvas.clientWidth) * cols);
      if (!this.data.field || i < 0 || j < 0 || i >= rows || j >= cols) return;
      this.unit = [c, i, j];
      this.boxes();
    });
    return this.figure(`y[${c}]`, canvas);
  }

  signed(rows, cols, scale, largest, value) {
    const canvas = h("canvas"),
      {plus, minus, cell} = colours();
    this.paint(canvas, rows, cols, scale, (r, c) => {
      const v = largest ? value(r, c) / largest : 0;
      return `color-mix(in srgb, ${v < 0 ? minus : plus} ${(100 * Math.abs(v)).toFixed(0)}%, ${cell})`;
    });
    return canvas;
  }

  /* Filters of three channels are colours, others one picture for each channel. */
  allFilters() {
    const [O, C, KH, KW] = this.filters.shape,
      scale = Math.max(2, Math.round(48 / KW)),
      largest = this.largest(this.filters);
    const level = (v) => Math.round(127.5 + (127.5 * v) / (largest || 1)),
      pictures = [];
    for (let o = 0; o < Math.min(O, 96); o++) {
      if (C === 3) {
        const canvas = h("canvas");
        this.paint(
          canvas,
          KH,
          KW,
          scale,
          (p, q) => `rgb(${[0, 1, 2].map((c) => level(this.filters.get(o, c, p, q))).join(" ")})`,
        );
        pictures.push(this.figure(`w[${o}]`, canvas));
      } else {
        for (let c = 0; c < Math.min(C, 4); c++) {
          pictures.push(
            this.figure(
              `w[${o},${c}]`,
              this.signed(KH, KW, scale, largest, (p, q) => this.filters.get(o, c, p, q)),
            ),
          );
        }
      }
    }
    return pictures;
  }
}

/* From nothing through orange to nearly white. */
function heat(v) {
  return `hsl(${20 + 30 * v} 100% ${45 + 45 * v * v}% / ${Math.min(1, 1.6 * Math.max(v, 0))})`;
}
