// The page: steps, sliders, what is pointed at, and the sum that explains it.

const OPERATIONS = {
  conv2d: ConvolutionSteps,
  max_pool2d: MaxPooling,
  avg_pool2d: AveragePooling,
  batch_norm: BatchNorm,
  cross_entropy: CrossEntropy,
  dropout: Dropout,
  other: Plain,
};
const PRODUCTS = 300000; // that are added up again when a page opens
const PATIENCE = 100; // milliseconds of that at a time

class Explorer {
  constructor() {
    this.place = Object.fromEntries(
      [
        "title",
        "about",
        "views",
        "languages",
        "sliders",
        "warning",
        "channels",
        "steps",
        "stage",
        "text",
        "sum",
        "check",
      ].map((id) => [id, document.getElementById(id)]),
    );
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.render());
    window.addEventListener("resize", () => window.innerWidth === this.width || this.render());
    document.addEventListener("keydown", (event) => this.key(event));
    this.shown = "layer";
    this.load(0);
  }

  /* Show one of the scenes: a layer with all its numbers. */
  load(number) {
    const data = page.scenes[number];
    const tensors = Object.fromEntries(
      Object.entries(data.tensors).map(([name, tensor]) => [name, new Tensor(tensor)]),
    );
    this.scene = data;
    this.operation = new OPERATIONS[data.operation]({...data, tensors});
    this.tensors = tensors;
    this.warning = "";
    const step = this.operation.steps.findIndex((one) => this.step && one.id === this.step.id);
    this.open(Math.max(step, 0));
    this.result = null;
    this.place.check.textContent = t("check.running");
    this.checking = this.verify();
  }

  /* Show one of the steps. */
  open(number) {
    this.number = Math.min(Math.max(number, 0), this.operation.steps.length - 1);
    this.step = this.operation.steps[this.number];
    this.pinned = false;
    const [name, index] = this.step.start.split(":");
    this.explanation = this.operation.explain({name, index: index.split(",").map(Number)});
    this.operation.follow(this.explanation);
    this.render();
  }

  /* Show the layer, or the network that it is in. */
  view(name) {
    this.shown = name;
    this.render();
  }

  // -- what is pointed at --------------------------------------------------------------------------------------------

  /* A click holds on to a number until the next click, or Escape. */
  select(cell, click) {
    if (this.pinned && !click) return;
    if (click) this.pinned = !(this.pinned && cell.key === this.explanation.key);
    else if (cell.key === this.explanation.key) return;
    const explanation = this.operation.explain(cell);
    if (!explanation) return;
    this.explanation = explanation;
    if (this.operation.follow(explanation)) this.renderStage();
    else this.light();
  }

  light() {
    for (const grid of this.grids) grid.show(this.explanation);
    this.renderSum();
  }

  key(event) {
    if (event.target.closest("input, select") || this.shown === "network") return;
    if (event.key === "Escape") this.pinned = false;
    else if (event.key === "ArrowRight") this.open(this.number + 1);
    else if (event.key === "ArrowLeft") this.open(this.number - 1);
  }

  // -- drawing -------------------------------------------------------------------------------------------------------

  render() {
    this.width = window.innerWidth;
    document.documentElement.lang = language;
    document.title = `${page.title} · minicnn`;
    this.place.title.textContent = page.title;
    this.place.about.textContent = this.scene.about[language];
    const button = (text, pressed, onclick) => h("button", {onclick, "aria-pressed": String(pressed)}, text);
    this.place.languages.replaceChildren(
      ...[
        ["en", "English"],
        ["zh", "中文"],
      ].map(([code, name]) =>
        button(name, code === language, () => {
          language = code;
          this.open(this.number);
        }),
      ),
    );
    this.place.views.replaceChildren(
      ...(page.network
        ? ["layer", "network"].map((name) => button(t(`view.${name}`), name === this.shown, () => this.view(name)))
        : []),
    );
    document.body.className = this.shown;
    if (this.shown === "network") {
      this.grids = [];
      this.place.stage.replaceChildren(...new NetworkView(page.network, this.tensors).elements());
      return;
    }
    this.renderSliders();
    const steps = this.operation.steps.map((step, k) =>
      h(
        "button",
        {onclick: () => this.open(k), ...(k === this.number ? {"aria-current": "step"} : {})},
        `${k + 1} ${t(`step.${step.id}`)}`,
      ),
    );
    this.place.steps.replaceChildren(
      h("button", {onclick: () => this.open(this.number - 1), "aria-label": t("back")}, "◀"),
      ...steps,
      h("button", {onclick: () => this.open(this.number + 1), "aria-label": t("next")}, "▶"),
    );
    if (this.result) this.renderCheck();
    const {steps: bar} = this.place,
      current = bar.querySelector("[aria-current]");
    bar.scrollLeft = current.offsetLeft - bar.offsetLeft - bar.clientWidth / 2; // where it does not fit into the window
    this.place.text.replaceChildren(h("h2", {}, t(`step.${this.step.id}`)), h("p", {}, t(`text.${this.step.id}`)));
    this.renderStage();
  }

  renderStage() {
    this.grids = [];
    this.place.stage.replaceChildren(
      ...this.step.rows().map((panels) => {
        const sizes = cellSizes(panels, this.place.stage.clientWidth);
        return h(
          "div",
          {class: "row"},
          ...panels.map((panel, k) => {
            if (typeof panel === "string") return h("span", {class: "operator"}, panel);
            if (panel.code) return h("pre", {}, panel.code);
            const grid = new Grid(panel, (cell, click) => this.select(cell, click));
            grid.resize(sizes[k]);
            this.grids.push(grid);
            return grid.element;
          }),
        );
      }),
    );
    this.light();
    this.place.channels.replaceChildren(...this.pickers());
  }

  /* The sliders stay while they are moved; what they show is brought up to date. */
  renderSliders() {
    if (this.sliderLanguage !== language) this.buildSliders();
    for (const [name, {input, output}] of Object.entries(this.sliders)) {
      const values = page.sliders[name],
        now = values.indexOf(this.scene.position ? this.scene.position[name] : undefined);
      input.value = now;
      output.textContent = now < 0 ? "·" : String(values[now]);
    }
    this.place.warning.textContent = this.warning;
  }

  buildSliders() {
    this.sliderLanguage = language;
    this.sliders = {};
    this.place.sliders.replaceChildren(
      ...Object.entries(page.sliders).map(([name, values]) => {
        const input = h("input", {
          type: "range",
          min: 0,
          max: values.length - 1,
          name,
          disabled: values.length < 2,
          oninput: (event) => this.slide(name, values[event.target.value]),
        });
        const output = h("output");
        this.sliders[name] = {input, output};
        return h("label", {}, t(`slider.${name}`), input, output);
      }),
    );
  }

  /* Channels to choose from, where there are too many to be shown at once. */
  pickers() {
    return Object.entries(this.operation.channels).map(([name, values]) =>
      h(
        "label",
        {},
        t(`channel.${name}`),
        h(
          "select",
          {name, onchange: (event) => this.choose(name, Number(event.target.value))},
          ...values.map((value) => h("option", {value, selected: value === this.operation[name]}, String(value))),
        ),
      ),
    );
  }

  /* Show another channel, and what is pointed at in that. */
  choose(name, value) {
    const tensor = this.explanation.name,
      index = [...this.explanation.index],
      axis = this.operation.channelAxis(name, tensor);
    if (axis >= 0) index[axis] = value;
    this.explanation = this.operation.explain({name: tensor, index});
    this.operation.follow({[name]: value});
    this.renderStage();
  }

  slide(name, value) {
    const wanted = {...this.scene.position, [name]: value};
    const found = page.scenes.findIndex(
      (scene) => scene.position && Object.keys(wanted).every((key) => scene.position[key] === wanted[key]),
    );
    if (found >= 0) {
      this.load(found);
    } else {
      this.warning = t("slider.none");
      this.renderSliders();
    }
  }

  renderSum() {
    this.place.sum.replaceChildren(...sumElements(this.explanation, this.tensors, this.operation.round));
  }

  // -- everything added up again -------------------------------------------------------------------------------------

  /* Adds up sums of the scene again, all of them or, to stay within so many products, every so-manieth; without those
   * of which terms are not on this page. */
  async verify(products = PRODUCTS) {
    const {scene, operation, tensors} = this,
      names = operation.sums,
      result = {all: 0, sums: 0, unequal: 0};
    let since = performance.now();
    for (const name of names) {
      const places = [];
      tensors[name].each((index) => places.push(index));
      const terms = operation.explain({name, index: places[0]}).terms.length + 1;
      const step = Math.max(1, Math.ceil((places.length * terms * names.length) / products));
      result.all += places.length;
      for (let k = 0; k < places.length; k += step) {
        const {value, missing} = operation.explain({name, index: places[k]});
        if (missing) result.all--;
        else result.sums++;
        if (!missing && value !== tensors[name].get(...places[k])) result.unequal++;
        if (performance.now() - since < PATIENCE) continue;
        await new Promise((resolve) => setTimeout(resolve));
        if (scene !== this.scene) return null;
        since = performance.now();
      }
    }
    this.result = result;
    this.renderCheck();
    return result;
  }

  renderCheck() {
    const {all, sums, unequal} = this.result,
      [n, of] = [sums, all].map((count) => count.toLocaleString("en"));
    this.place.check.textContent = all ? t(unequal ? "check.unequal" : "check.equal", {sums: n, all: of, unequal}) : "";
    this.place.check.className = unequal ? "bad" : "";
  }
}

const explorer = new Explorer();
