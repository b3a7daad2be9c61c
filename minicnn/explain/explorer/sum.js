// The sum beside the pictures: every term of the number pointed at, and whether they add up to the run's number.

const TERMS = 500; // that are listed; all are added

function sumElements(explanation, tensors, round) {
  const {terms, formula, note, missing} = explanation;
  const shown = (number) => (number === undefined || missing ? "?" : exact(number, round));
  const head = h("h3", {}, h("b", {}, label(explanation)), ` = ${shown(explanation.value)}`);
  const notes = note ? [h("p", {class: "formula"}, note)] : [];
  if (!terms) return [head, ...(notes.length ? notes : [h("p", {class: "formula"}, t("given"))])];
  const rows = terms.slice(0, TERMS).map((term) => termRow(term, round));
  if (terms.length > TERMS) rows.push(h("tr", {}, h("td", {}, t("more", {n: terms.length - TERMS}))));
  const {good, text} = verdict(explanation, tensors, round);
  return [
    head,
    h("p", {class: "formula"}, t(formula)),
    h("div", {class: "terms"}, h("table", {}, h("tbody", {}, ...rows))),
    h(
      "p",
      {class: "result"},
      `${total(explanation, round)} = ${shown(explanation.value)} `,
      h("span", {class: good ? "good" : "bad"}, text),
    ),
    ...notes,
  ];
}

/* A row: the factors with their names, and what they make. */
function termRow({factors, sign, value}, round) {
  const shown = (number) => (number === undefined ? "?" : exact(number, round));
  const named = (factor) => [h("span", {}, `${label(factor)} `), shown(factor.value)];
  const all = factors.flatMap((factor, k) => (k ? [` ${sign || "·"} `, ...named(factor)] : named(factor)));
  return h("tr", {}, h("td", {}, ...all), h("td", {class: "number"}, factors.length > 1 ? shown(value) : ""));
}

/* The sum in short, with what comes after it, such as a bias. */
function total({terms, then, sign, missing}, round) {
  const sum =
    terms.length === 1 && !missing ? exact(terms[0].value, round) : `${sign || "Σ"} ${t("terms", {n: terms.length})}`;
  return then ? `${sum} ${then[0]} ${label(then[1])} ${exact(then[1].value, round)}` : sum;
}

function verdict({name, index, value, missing, derived}, tensors, round) {
  if (missing) return {good: true, text: t("missing")};
  if (derived) return {good: true, text: t("derived")};
  const run = tensors[name].get(...index);
  return run === value ? {good: true, text: t("equal")} : {good: false, text: t("unequal", {run: exact(run, round)})};
}
