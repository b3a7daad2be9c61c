// What all operations share: terms, sums in the order of the run, and what lights up with a number.

const FEW = 4; // channels that are shown side by side; of more, one at a time
const LARGE = 100; // numbers, or columns of a matrix

/* An operation has
 *   steps       [{id, start, rows()}]: what is pointed at first, and rows of panels with operators between them
 *   sums        the names of the tensors whose numbers it can explain
 *   channels    {name: values} to choose from, where not all are shown at once
 *   explain_T   for each tensor T, what index is made of: an explanation, see below
 */
class Operation {
  constructor(scene) {
    this.tensors = scene.tensors;
    this.round = this.tensors.x.round;
    this.channels = {};
  }

  /* The channels of a tensor that are on the page, at least in part. */
  available(name, axis = 0) {
    const channels = new Set();
    for (const {start, shape} of this.tensors[name].blocks) {
      for (let k = 0; k < shape[axis]; k++) channels.add(start[axis] + k);
    }
    return [...channels].sort((a, b) => a - b);
  }

  /* Where to begin in a tensor, as a key: at its first number, or, in a large one, at the greatest. */
  start(name) {
    const {start, shape, data} = this.tensors[name].blocks[0];
    let flat = 0;
    if (data.length > LARGE)
      data.forEach((value, k) => {
        if (Math.abs(value) > Math.abs(data[flat])) flat = k;
      });
    return `${name}:${unravel(flat, shape).map((i, k) => i + start[k])}`;
  }

  step(id, start, rows) {
    return {id, start, rows: rows.bind(this)};
  }

  at(name, ...index) {
    return new Ref(name, index, this.tensors[name].get(...index));
  }

  explain({name, index}) {
    const explain = this[`explain_${name}`];
    return explain ? explain.call(this, ...index) : this.given(name, index, {});
  }

  /* The axis of a tensor along which these channels lie, −1 if none does. */
  channelAxis(channel, name) {
    return name in this.tensors && this.tensors[name].shape.length > 2 ? 0 : -1;
  }

  /* Bring into view what an explanation speaks of; whether other panels are needed for it. */
  follow() {
    return false;
  }

  // -- terms and sums ------------------------------------------------------------------------------------------------

  /* A number as it is, or what is made of several; also: keys of other cells that light up with it. */
  term(...factors) {
    return {factors, also: [], value: factors[0].value};
  }

  product(a, b, ...also) {
    return {factors: [a, b], also, value: this.round(a.value * b.value)};
  }

  /* Adds as the run adds products: each is rounded, then added. */
  add(terms) {
    return terms.reduce((sum, term) => this.round(sum + term.value), 0);
  }

  /* Adds as the run adds single numbers: in double precision, rounded once. */
  addAndRound(terms) {
    return this.round(terms.reduce((sum, term) => sum + term.value, 0));
  }

  // -- explanations --------------------------------------------------------------------------------------------------

  /* A number that is a sum of terms.
   *
   * more: value, if it is not just the sum; then: [sign, ref] of what follows the sum; lit: keys that light up beside
   * terms and then; derived: true for numbers that the run does not have; and whatever panels and follow() look at.
   */
  explanation(name, index, terms, more = {}) {
    const then = more.then && more.then[1] ? more.then : null;
    const missing = terms.some((term) => term.factors.some((factor) => factor.value === undefined));
    const lit = () =>
      new Set([
        ...(more.lit || []),
        ...(then ? [then[1].key] : []),
        ...terms.flatMap((term) => [...term.factors.map((factor) => factor.key), ...term.also]),
      ]);
    return new Explanation(
      {value: this.add(terms), formula: `formula.${this.family}.${name}`, ...more, name, index, terms, then, missing},
      lit,
    );
  }

  /* A number that the run has from elsewhere. */
  given(name, index, more) {
    const {value} = more.value === undefined ? this.at(name, ...index) : more;
    return new Explanation({...more, value, name, index, terms: null}, () => new Set(more.lit));
  }
}

/* What a number is made of; which cells light up with it is worked out when that is asked. */
class Explanation extends Ref {
  constructor(parts, lit) {
    super(parts.name, parts.index, parts.value);
    const {lit: keys, ...others} = parts;
    Object.assign(this, others);
    this.light = lit;
  }

  get lit() {
    this.keys = this.keys || this.light();
    return this.keys;
  }
}
