// A network to play with: what a reader draws on the page `play`, made into 8 × 8 numbers and read by the network
// that the page trained. The weights come from slugnet, in slugnetPlayData (playground.py); all else is here. The
// lines that compute bear the names of the page's equations.
(() => {
  "use strict";
  const place = document.getElementById("slugnet-play"), data = window.slugnetPlayData;
  if (!place || !data) return;

  // ---- the network: float32 weights, computed with in float64
  const layers = data.layers.map(({ W, b, activation }) =>
    ({ W: W.map((row) => row.map(Math.fround)), b: b.map(Math.fround), activation }));
  const indices = (n) => Array.from({ length: n }, (_, i) => i);
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const affine = (x, { W, b }) => b.map((bias, j) => sum(x.map((value, i) => value * W[i][j])) + bias);
  const softmax = (a) => {
    const top = Math.max(...a), e = a.map((value) => Math.exp(value - top)), total = sum(e);
    return e.map((value) => value / total);
  };
  const phi = { tanh: (a) => a.map(Math.tanh), softmax };
  const forward = (x) => {   // eq-play-forward
    const passes = [];
    for (const layer of layers) {
      const a = affine(passes.length ? passes[passes.length - 1].h : x, layer);
      passes.push({ a, h: phi[layer.activation](a) });
    }
    return passes;
  };
  const inputGradient = (passes, chosen) => {
    const through = ({ W }, g) => W.map((row) => sum(row.map((w, j) => w * g[j])));
    let g = passes[passes.length - 1].h.map((y, j) => (j === chosen ? 1 : 0) - y);   // eq-play-gradient-top
    for (let k = layers.length - 1; k > 0; k--) {
      g = through(layers[k], g).map((value, i) => value * (1 - passes[k - 1].h[i] ** 2));   // eq-play-gradient-down
    }
    return through(layers[0], g);   // eq-play-gradient-pixels
  };

  // ---- from strokes, lists of points [x, y] in a unit square, to 32 × 32 dots and to 8 × 8 counts
  const SIDE = 32, WIDE = 20, PEN = 2.7, NARROW = 0.25, LEAN = 0.7;
  const evenly = (stroke, step) => {   // points at equal distances along a stroke, and its end
    const points = [];
    let walked = 0, next = 0;
    stroke.slice(1).forEach((end, i) => {
      const start = stroke[i], length = Math.hypot(end[0] - start[0], end[1] - start[1]);
      for (; next < walked + length; next += step) {
        const t = (next - walked) / length;
        points.push([start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1])]);
      }
      walked += length;
    });
    return [...points, stroke[stroke.length - 1]];
  };
  const bounds = (points, axis) => {
    const values = points.map((p) => p[axis]), low = Math.min(...values), high = Math.max(...values);
    return [(low + high) / 2, high - low];
  };
  const dots = (strokes) => {
    const black = indices(SIDE * SIDE).fill(0), all = strokes.flat();
    if (!all.length) return black;
    const step = Math.max(bounds(all, 0)[1], bounds(all, 1)[1], 1e-9) / 64;
    let points = strokes.flatMap((stroke) => evenly(stroke, step));
    const mean = [0, 1].map((axis) => sum(points.map((p) => p[axis])) / points.length);   // make it upright
    points = points.map((p) => [p[0] - mean[0], p[1] - mean[1]]);
    const spread = sum(points.map((p) => p[1] ** 2));
    const slope = spread ? sum(points.map((p) => p[0] * p[1])) / spread : 0;
    const lean = Math.max(-LEAN, Math.min(LEAN, slope));
    points = points.map((p) => [p[0] - lean * p[1], p[1]]);
    const [middleX, width] = bounds(points, 0), [middleY, height] = bounds(points, 1);   // size and place
    let scaleX = (WIDE - 2 * PEN) / Math.max(width, 1e-9), scaleY = (SIDE - 2 * PEN) / Math.max(height, 1e-9);
    if (width < NARROW * height) scaleX = Math.min(scaleX, scaleY);
    if (height < NARROW * width) scaleY = Math.min(scaleX, scaleY);
    if (Math.max(width, height) <= 1e-9) scaleX = scaleY = 0;
    points = points.map((p) => [(p[0] - middleX) * scaleX + SIDE / 2, (p[1] - middleY) * scaleY + SIDE / 2]);
    return black.map((_, i) => {
      const x = i % SIDE + 0.5, y = Math.floor(i / SIDE) + 0.5;
      return points.some((p) => (p[0] - x) ** 2 + (p[1] - y) ** 2 <= PEN ** 2) ? 1 : 0;
    });
  };
  const counts = (black) => indices(64).map((i) => {   // eq-play-counts
    const corner = 4 * SIDE * Math.floor(i / 8) + 4 * (i % 8);
    return sum(indices(16).map((j) => black[corner + SIDE * Math.floor(j / 4) + j % 4])) / 16;
  });

  // ---- what is shown
  const state = { strokes: [], dots: [], x: [], passes: [], gradient: [], example: 0, pinned: layers.map(() => null) };
  const top = layers.length - 1;
  const element = (name, attributes = {}, html = "") => {
    const made = document.createElement(name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    made.innerHTML = html;
    return made;
  };
  const put = (node, html) => { if (node.innerHTML !== html) node.innerHTML = html; };
  const number = (value, digits = 3) => value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1").replace("-", "−");
  const signed = (value, digits = 3) => (value < 0 ? "" : "+") + number(value, digits);
  const percent = (value) => value > 0.9995 && value < 1 ? "over 99.9 %" : value < 0.0005 ? "under 0.1 %"
    : `${(100 * value).toFixed(1)} %`;
  const symbol = (letter, k, j) => `<i>${letter}</i><sub>${j}</sub>` + (k ? `<sup>(${k})</sup>` : "");
  const output = (k, j) => k < 0 ? symbol("x", 0, j + 1) : k === top ? symbol("ŷ", 0, j) : symbol("h", k + 1, j + 1);
  const spoken = (k, j) => k < 0 ? `pixel ${j + 1}` : k === top ? `digit ${j}` : `layer ${k + 1}, unit ${j + 1}`;
  const argmax = (values) => values.indexOf(Math.max(...values));

  const panel = (title, ...children) => {
    const box = element("div", { class: "play-panel" });
    box.append(element("p", { class: "play-title" }, title), ...children);
    return box;
  };
  const say = (text) => element("p", { class: "play-reading" }, text);

  // A grid of small cells that can be walked through with the arrow keys; `tell(i)` is what the reading says of one,
  // `rest()` what it says else.
  const grid = (n, columns, label, reading, rest, tell, pick) => {
    const box = element("div", { class: "play-cells", role: "group", "aria-label": label });
    box.style.setProperty("--columns", columns);
    const cells = indices(n).map((i) => element("button", { type: "button", tabindex: i ? -1 : 0 }));
    cells.forEach((cell, i) => {
      cell.addEventListener("mouseenter", () => put(reading, tell(i)));
      cell.addEventListener("focus", () => {
        put(reading, tell(i));
        cells.forEach((c) => { c.tabIndex = c === cell ? 0 : -1; });
      });
      ["mouseleave", "blur"].forEach((name) => cell.addEventListener(name, () => put(reading, rest())));
      cell.addEventListener("click", () => pick ? pick(i) : put(reading, tell(i)));
      cell.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
        if (step && cells[i + step]) { cells[i + step].focus(); event.preventDefault(); }
      });
    });
    box.append(...cells);
    return { box, cells };
  };
  // The colour of a cell: orange for plus, blue for minus, ink for what has no sign; the sign is written in it, too.
  const paint = (cell, value, limit, name, ink = false) => {
    const share = limit ? Math.min(1, Math.abs(value) / limit) : 0;
    cell.style.setProperty("--share", `${(ink ? 88 : 72) * share}%`);
    cell.dataset.value = value;
    cell.dataset.sign = ink ? "ink" : value < 0 ? "minus" : "plus";
    put(cell, ink || share < 0.25 ? "" : value < 0 ? "−" : "+");
    cell.setAttribute("aria-label", name);
  };

  const canvas = element("canvas", { class: "play-canvas", tabindex: 0, role: "application", "aria-label":
    "Drawing field. Draw a digit with mouse or finger; or move with the arrow keys, and lower or lift the pen with "
    + "the space bar." });
  const dotsCanvas = element("canvas", { class: "play-dots", role: "img", width: 128, height: 128,
    "aria-label": "The drawing as 32 by 32 dots" });
  const clearButton = element("button", { type: "button", class: "play-button" }, "Clear");
  const hint = element("p", { class: "play-reading", role: "status" }, "Draw a digit here.");
  const answer = element("p", { class: "play-answer", role: "status", "aria-live": "polite" });
  const examples = element("div", { class: "play-examples", role: "group",
    "aria-label": "Images that were held out of the training" });

  const pixelText = () => "How much ink is in each of 8 × 8 blocks.", unitText = () => "Point at a cell, or choose it.";
  const gradientText = () => `<b>+</b> a little more ink here speaks for the ${state.chosen[top]}, <b>−</b> against it.<br>`
    + `Full colour: ±${number(Math.max(...state.gradient.map(Math.abs)), 4)}. One more black dot in the block of a pixel `
    + "adds 1/16 to it, and so about 1/16 of its number to the logarithm of the probability.";
  const pixelReading = say(pixelText()), gradientReading = say("");
  const where = (i) => `row ${Math.floor(i / 8) + 1}, column ${i % 8 + 1}`;
  const pixels = grid(64, 8, "The input, 64 numbers", pixelReading, pixelText,
    (i) => `${output(-1, i)} = ${16 * state.x[i]}/16, ${where(i)}`);
  const gradients = grid(64, 8, "The input gradient, 64 numbers", gradientReading, gradientText,
    (i) => `∂ log ${output(top, state.chosen[top])} / ∂${output(-1, i)} = ${signed(state.gradient[i], 4)}, ${where(i)}`);
  const units = layers.slice(0, top).map(({ b }, k) => {
    const reading = say(unitText());
    return { ...grid(b.length, b.length > 16 ? 8 : 4, `Activations of layer ${k + 1}, ${b.length} units`, reading, unitText,
      (j) => `${output(k, j)} = ${number(state.passes[k].h[j])}`, (j) => pin(k, j)), reading };
  });
  const bars = indices(layers[top].b.length).map((k) => {
    const bar = element("button", { type: "button", class: "play-bar" },
      `<span class="play-digit">${k}</span><span class="play-track"><span></span></span>
      <span class="play-number"></span>`);
    bar.addEventListener("click", () => pin(top, k));
    return bar;
  });
  const equations = layers.map(() => element("div", { class: "play-equation" }));
  const barBox = element("div", { class: "play-bars", role: "group",
    "aria-label": "Probability of each digit; choose one to ask about it" });
  barBox.append(...bars);

  // The units whose equations are shown: what the reader chose; else the likeliest digit, and down from it the
  // strongest terms.
  const terms = (k, j) => (k ? state.passes[k - 1].h : state.x).map((value, i) => value * layers[k].W[i][j]);
  const choose = () => {
    state.chosen = [...state.pinned];
    if (state.chosen[top] === null) state.chosen[top] = argmax(state.passes[top].h);
    for (let k = top - 1; k >= 0; k--) {
      if (state.chosen[k] === null) state.chosen[k] = argmax(terms(k + 1, state.chosen[k + 1]).map(Math.abs));
    }
  };
  const pin = (k, j) => { state.pinned[k] = state.pinned[k] === j ? null : j; show(); };

  const equation = (k) => {
    const j = state.chosen[k], { a, h } = state.passes[k], n = k === top ? j : j + 1, parts = terms(k, j);
    const order = indices(parts.length).sort((p, q) => Math.abs(parts[q]) - Math.abs(parts[p]));
    const input = k ? state.passes[k - 1].h : state.x, rest = sum(order.slice(6).map((i) => parts[i]));
    const row = (name, factors, value, cls = "") =>
      `<tr${cls}><th scope="row">${name}</th><td>${factors}</td><td>${signed(value)}</td></tr>`;
    const rows = order.slice(0, 6).map((i) => row(`${output(k - 1, i)} <i>w</i><sub>${i + 1},${n}</sub>`,
      `${number(input[i])} · ${number(layers[k].W[i][j])}`, parts[i]));
    const end = k < top ? `${output(k, j)} = tanh(${number(a[j])}) = <b>${number(h[j])}</b>`
      : `${output(k, j)} = exp(${number(a[j])}) / ∑<sub>j</sub> exp(${symbol("a", k + 1, "j")})
        = <b>${number(h[j], 4)}</b>`;
    const from = k ? `<i>h</i><sub>i</sub><sup>(${k})</sup>` : "<i>x</i><sub>i</sub>";
    put(equations[k], `<p class="play-title">Layer ${k + 1}, ${k === top ? "digit" : "unit"} ${n}</p>
      <p>${symbol("a", k + 1, n)} = ∑<sub>i</sub> ${from} <i>w</i><sub>i,${n}</sub> + <i>b</i><sub>${n}</sub></p>
      <table><caption class="play-hidden">The terms of the sum, the largest first</caption><tbody>${rows.join("")}
      ${row(`the other ${parts.length - 6}`, "", rest)}${row(`<i>b</i><sub>${n}</sub>`, "", layers[k].b[j])}
      ${row(symbol("a", k + 1, n), "sum", a[j], ' class="play-sum"')}</tbody></table><p>${end}</p>`);
    equations[k].dataset.unit = j;
    equations[k].dataset.a = a[j];
  };

  const show = () => {
    choose();
    state.gradient = inputGradient(state.passes, state.chosen[top]);
    const y = state.passes[top].h, best = argmax(y), k = state.chosen[top], g = state.gradient;
    const limit = Math.max(...g.map(Math.abs)), pixel = (i) => `pixel ${i + 1}, ${where(i)}`;
    pixels.cells.forEach((cell, i) => paint(cell, state.x[i], 1, `${pixel(i)}: ${16 * state.x[i]} of 16`, true));
    gradients.cells.forEach((cell, i) => paint(cell, g[i], limit, `${pixel(i)}: ${signed(g[i], 4)}`));
    units.forEach(({ cells }, l) => cells.forEach((cell, j) => {
      paint(cell, state.passes[l].h[j], 1, `${spoken(l, j)}: ${number(state.passes[l].h[j])}`);
      cell.setAttribute("aria-pressed", String(state.chosen[l] === j));
    }));
    bars.forEach((bar, j) => {
      bar.dataset.value = y[j];
      bar.classList.toggle("play-best", j === best);
      bar.setAttribute("aria-pressed", String(k === j));
      bar.children[1].firstChild.style.width = `${100 * y[j]}%`;
      bar.children[2].textContent = y[j] < 5e-5 ? "<0.0001" : number(y[j], 4);
    });
    layers.forEach((_, l) => equation(l));
    put(gradientTitle, `What a little more ink would do to the ${k}: ∂ log ${output(top, k)} / ∂<b>x</b>`);
    put(gradientReading, gradientText());
    drawDots();
    drawCanvas();
  };
  const speak = () => {
    const y = state.passes[top].h, best = argmax(y), second = argmax(y.map((value, j) => j === best ? -1 : value));
    const source = state.example === null ? ""
      : ` The image is one of the data set, held out of the training, and counts as ${data.examples[state.example].digit}.`;
    answer.setAttribute("aria-busy", String(pointer !== null || keys.down));   // said aloud when the stroke is done
    put(answer, !state.strokes.length && !source ? "Nothing is drawn. The numbers are those of an empty image."
      : `Read as <b>${best}</b>, probability ${percent(y[best])}; next ${second}, ${percent(y[second])}.${source}`);
  };
  const read = (x) => { state.x = x; state.passes = forward(x); show(); };
  const readStrokes = () => { state.dots = dots(state.strokes); read(counts(state.dots)); };
  const clear = () => {
    Object.assign(state, { strokes: [], example: null, pinned: layers.map(() => null) });
    lift();
    readNow();
  };
  const showExample = (i) => {
    Object.assign(state, { strokes: [], dots: [], example: i, pinned: layers.map(() => null) });
    read(data.examples[i].pixels.map((value) => value / 16));
    speak();
  };

  // ---- the drawing field
  const ink = (node) => getComputedStyle(node).color;
  const drawDots = () => {
    const pen = dotsCanvas.getContext("2d");
    pen.clearRect(0, 0, 128, 128);
    pen.fillStyle = ink(dotsCanvas);
    state.dots.forEach((black, i) => { if (black) pen.fillRect(4 * (i % SIDE), 4 * Math.floor(i / SIDE), 3.5, 3.5); });
    dotsCanvas.dataset.dots = state.dots.join("");
    put(dotsReading, state.example === null ? "Upright, sized and centred like the data set."
      : "Of its images the data set keeps only the counts.");
  };
  const drawCanvas = () => {
    const size = canvas.width = canvas.height = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1)) || 1;
    const pen = canvas.getContext("2d");
    Object.assign(pen, { lineCap: "round", lineJoin: "round", lineWidth: 0.07 * size });
    pen.strokeStyle = pen.fillStyle = ink(canvas);
    if (state.example !== null) state.x.forEach((value, i) => {
      pen.globalAlpha = value;
      pen.fillRect(i % 8 * size / 8, Math.floor(i / 8) * size / 8, size / 8, size / 8);
    });
    pen.globalAlpha = 1;
    state.strokes.forEach((stroke) => {
      pen.beginPath();
      stroke.forEach(([x, y], i) => pen[i ? "lineTo" : "moveTo"](x * size, y * size));
      if (stroke.length === 1) pen.lineTo(stroke[0][0] * size, stroke[0][1] * size);
      pen.stroke();
    });
    if (document.activeElement !== canvas || !keys.used) return;
    const [x, y] = keys.at.map((value) => value * size);
    Object.assign(pen, { lineWidth: 2, strokeStyle: getComputedStyle(canvas).outlineColor });
    pen.beginPath();
    pen.arc(x, y, 0.05 * size, 0, 7);
    pen.stroke();
  };
  const begin = (point) => { if (state.example !== null) clear(); state.strokes.push([point]); readNow(); };
  const extend = (point) => { state.strokes[state.strokes.length - 1].push(point); };
  let frame = 0;   // while a stroke is drawn, it is read once a frame of the screen
  const readSoon = () => { frame = frame || requestAnimationFrame(readNow); };
  const readNow = () => { cancelAnimationFrame(frame); frame = 0; readStrokes(); speak(); };
  const inside = (value) => Math.max(0, Math.min(1, value));
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [inside((event.clientX - box.left - canvas.clientLeft) / canvas.clientWidth),
      inside((event.clientY - box.top - canvas.clientTop) / canvas.clientHeight)];
  };
  let pointer = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button) return;
    lift();
    keys.used = false;
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    begin(at(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    extend(at(event));
    readSoon();
  });
  const finish = (event) => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    readNow();
  };
  ["pointerup", "pointercancel"].forEach((name) => canvas.addEventListener(name, finish));

  // With the keyboard: arrows move by a sixteenth of the field, or by a quarter of that with Shift; the space bar
  // lowers and lifts the pen.
  const keys = { at: [0.5, 0.5], down: false, used: false };
  const lift = () => {
    const drew = keys.down;
    keys.down = false;
    if (drew) speak();
    put(hint, "Draw a digit here.");
  };
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === " ") {
      if (keys.down) lift();
      else { begin([...keys.at]); keys.down = true; put(hint, "The pen is down: arrows draw, space lifts it."); }
    } else if (move) {
      keys.at = keys.at.map((value, axis) => inside(value + move[axis] / (event.shiftKey ? 64 : 16)));
      if (keys.down) { extend([...keys.at]); readNow(); }
    } else if (event.key === "Escape") lift();
    else if (event.key === "Delete" || event.key === "Backspace") clear();
    else return;
    keys.used = true;
    event.preventDefault();
    drawCanvas();
  });
  ["focus", "blur"].forEach((name) => canvas.addEventListener(name, () => { if (name === "blur") lift(); drawCanvas(); }));
  clearButton.addEventListener("click", clear);

  // ---- put together
  const dotsReading = say("");
  data.examples.forEach((example, i) => {
    const button = element("button", { type: "button", class: "play-button",
      "aria-label": `${example.digit}, an image held out` }, String(example.digit));
    button.addEventListener("click", () => showExample(i));
    examples.append(button);
  });
  const row = (...children) => {
    const box = element("div", { class: "play-row" });
    box.append(...children);
    return box;
  };
  const tools = row(clearButton, element("span", { class: "play-reading" }, "or take an image it never saw:"), examples);
  tools.classList.add("play-tools");
  const gradientPanel = panel("", row(gradients.box, gradientReading)), gradientTitle = gradientPanel.firstChild;
  const titles = ["<b>h</b><sup>(1)</sup> = tanh(<b>W</b><sup>(1)⊤</sup><b>x</b> + <b>b</b><sup>(1)</sup>)",
    "<b>h</b><sup>(2)</sup> = tanh(<b>W</b><sup>(2)⊤</sup><b>h</b><sup>(1)</sup> + <b>b</b><sup>(2)</sup>)",
    "<b>ŷ</b> = softmax(<b>W</b><sup>(3)⊤</sup><b>h</b><sup>(2)</sup> + <b>b</b><sup>(3)</sup>)"];
  place.replaceChildren(
    row(panel("Draw", canvas, hint), panel("32 × 32 dots", dotsCanvas, dotsReading),
      panel("<b>x</b>, 8 × 8 numbers", pixels.box, pixelReading)),
    tools, answer,
    row(...units.map(({ box, reading }, k) => panel(titles[k], box, reading)),
      panel(titles[top], barBox, say("Choose a digit to ask about it."))),
    gradientPanel, element("p", { class: "play-title" }, "One unit of each layer, with its numbers"), row(...equations));
  place.classList.add("play");
  const redraw = () => { drawDots(); drawCanvas(); };
  new MutationObserver(redraw).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("resize", drawCanvas);
  showExample(0);
  window.slugnetPlay = { state, dots, counts, forward, inputGradient };
})();
