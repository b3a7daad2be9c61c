"use strict";
// Texts, numbers of the run and their names.

const page = JSON.parse(document.getElementById("data").textContent);

// -- texts ---------------------------------------------------------------------------------------------------------

let language = page.lang;

/* A text in the language chosen; {name} in it is replaced by values.name. */
function t(key, values = {}) {
  const text = page.texts[key][language];
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
}

/* An element with attributes and children: h("p", {class: "note"}, "text", child). */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

// -- numbers -------------------------------------------------------------------------------------------------------

/* A tensor of the run, in the blocks of it that are on this page; get is undefined for what is in none of them. */
class Tensor {
  constructor({shape, type, blocks}) {
    this.shape = shape;
    this.round = type === "float32" ? Math.fround : (value) => value;
    this.blocks = blocks.map(({start, shape, data}) => ({start, shape, data: decode(type, data)}));
  }

  get(...index) {
    for (const {start, shape, data} of this.blocks) {
      let flat = 0;
      for (let k = 0; k < shape.length; k++) {
        const i = index[k] - start[k];
        flat = i >= 0 && i < shape[k] ? flat * shape[k] + i : NaN;
      }
      if (flat === flat) return data[flat];
    }
    return undefined;
  }

  /* Calls visit(index) for every number of the first block: that whose sums are complete. */
  each(visit) {
    const {start, shape, data} = this.blocks[0];
    for (let flat = 0; flat < data.length; flat++) visit(unravel(flat, shape).map((i, k) => i + start[k]));
  }
}

/* The index of the number with this place in an array of this shape. */
function unravel(place, shape) {
  const index = [];
  for (let k = shape.length - 1; k >= 0; place = Math.floor(place / shape[k--])) index.unshift(place % shape[k]);
  return index;
}

const ARRAYS = {float32: Float32Array, float64: Float64Array, uint8: Uint8Array};

/* Integers come as they are, others as the bytes of the run's numbers, lowest first. */
function decode(type, data) {
  if (Array.isArray(data)) return data;
  return new ARRAYS[type](Uint8Array.from(atob(data), (character) => character.charCodeAt(0)).buffer);
}

/* A number of a tensor: what a cell of a grid shows. Equal keys are the same number, wherever it is drawn. */
class Ref {
  constructor(name, index, value) {
    this.name = name;
    this.index = index;
    this.value = value;
  }

  get key() {
    return `${this.name}:${this.index}`;
  }
}

function label({name, index}) {
  return index.length ? `${name}[${index}]` : name;
}

/* The shortest decimal that is read back as exactly this number. */
function exact(value, round) {
  let digits = 1;
  while (digits < 17 && round(Number(value.toPrecision(digits))) !== value) digits++;
  const plain = value === 0 || (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e7);
  return (plain ? String(Number(value.toPrecision(digits))) : value.toExponential(digits - 1)).replace(/-/g, "−");
}

/* A few digits, for a small cell. */
function brief(value) {
  const size = Math.abs(value);
  if (size && size < 0.005) return "≈0";
  const text = Number.isInteger(value) ? String(value) : value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
  return text.replace(/^(-?)0\./, "$1.").replace("-", "−");
}
