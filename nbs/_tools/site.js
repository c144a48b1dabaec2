// The site's own script: light or dark, the list of pages on narrow screens, search, copying, boxes that scroll,
// equations that pop up. The pages can be read without it.
(() => {
  "use strict";
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const root = document.documentElement;

  // ---- light or dark: the system's choice, until the reader makes one, which stays
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
  const theme = $("#theme-button");
  const showTheme = () => theme && theme.setAttribute("aria-pressed", String(isDark()));
  if (theme) theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("slugnet-theme", root.dataset.theme); } catch (e) { /* a private window */ }
    showTheme();
  });
  system.addEventListener("change", showTheme);
  showTheme();

  // ---- the list of pages on a narrow screen
  const menu = $("#menu-button"), sidebar = $("#quarto-sidebar");
  const open = (yes) => {
    sidebar.classList.toggle("show", yes);
    menu.setAttribute("aria-expanded", String(yes));
  };
  if (menu && sidebar) {
    menu.addEventListener("click", () => open(!sidebar.classList.contains("show")));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && sidebar.classList.contains("show")) { open(false); menu.focus(); }
    });
    document.addEventListener("click", (event) => {
      if (!sidebar.contains(event.target) && !menu.contains(event.target)) open(false);
    });
    sidebar.addEventListener("focusout", (event) => {   // the keyboard went on: what it reaches must not be covered
      if (event.relatedTarget && !sidebar.contains(event.relatedTarget) && event.relatedTarget !== menu) open(false);
    });
    const here = $(".sidebar-link.active", sidebar);
    if (here) requestAnimationFrame(() => { sidebar.scrollTop = Math.max(0, here.offsetTop - sidebar.clientHeight / 2); });
  } else if (menu) menu.hidden = true;

  // ---- headings that can be linked to, and the contents that follow the reader
  $$("main [data-anchor-id]").forEach((heading) => {
    const link = document.createElement("a");
    link.className = "heading-link";
    link.href = "#" + heading.dataset.anchorId;
    link.textContent = "#";
    link.setAttribute("aria-label", "Link to this section");
    heading.append(link);
  });
  const contents = $$("#TOC a").map((link) => [link, document.getElementById(decodeURIComponent(link.hash.slice(1)))])
    .filter(([, target]) => target);
  const follow = () => {
    let here = contents[0];
    contents.forEach((row) => { if (row[1].getBoundingClientRect().top < 120) here = row; });
    contents.forEach((row) => row[0].classList.toggle("active", row === here));
  };
  if (contents.length) { addEventListener("scroll", follow, { passive: true }); requestAnimationFrame(follow); }

  // ---- docstrings: the summary, and at a click the rest, which the API reference shows as tables
  $$(".docstring-button").forEach((button) => button.addEventListener("click", () => {
    const rest = button.nextElementSibling;
    rest.hidden = !rest.hidden;
    button.setAttribute("aria-expanded", String(!rest.hidden));
  }));

  // ---- copying code
  $$(".code-copy-button").forEach((button) => button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText($("code", button.parentElement).textContent); } catch (e) { return; }
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1500);
  }));

  // ---- search: every word must occur; titles and names weigh more than prose, prose more than code
  const input = $(".book-search input"), results = $(".search-results");
  let rows = null, loading = null;
  const greek = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho ς sigma tau upsilon phi chi psi omega"
    .split(" ").map((name, i) => [name, String.fromCharCode(0x3b1 + i)]);
  const signs = [...greek, ["nabla", "∇"], ["hadamard", "⊙"], ["odot", "⊙"], ["partial", "∂"], ["sqrt", "√"]];
  const other = new Map([...signs, ...signs.map(([name, sign]) => [sign, name]), ["ϵ", "ε"], ["ϕ", "φ"], ["ϑ", "θ"]]);
  const marks = { hat: "\u0302", tilde: "\u0303", bar: "\u0304" };
  const words = (text) => (text || "").normalize("NFC").toLowerCase().replace(/ᵀ/g, " ").replace(/ϵ/g, "ε")
    .match(/eq-[\w-]+|\d+\.\d+|[\p{L}\p{M}\p{N}_]+|[∇∂⊙∑∏√∞×]/gu) || [];
  const asked = (query) => words(query.normalize("NFC")     // \hat{y}, hat y, y hat and yhat are ŷ
    .replace(/\\(?:mathbf|boldsymbol)\b/g, " ").replace(/\\?\b(hat|tilde|bar)[\s{]+(\p{L})\b\}?/giu, (_, mark, letter) => letter + marks[mark.toLowerCase()])
    .replace(/\b(\p{L})[ _-](hat|tilde|bar)\b/giu, (_, letter, mark) => letter + marks[mark.toLowerCase()]).replace(/\byhat\b/gi, "ŷ").replace(/\\var/g, "\\"));
  const spellings = (word) => [...new Set([word, word.replace(/is(?=[aei]|$)/g, "iz"), word.replace(/iz(?=[aei]|$)/g, "is"),
    word.replace(/our/g, "or"), word.replace(/or(?=s?$)/, "our"), word.replace(/yz/g, "ys"), word.replace(/(?<=[^s]{3})s$/, ""),
    word.replace(/tre$/, "ter"), word.replace(/ter$/, "tre"), ...(other.has(word) ? [other.get(word)] : [])])];
  const stems = (word) => [word.replace(/(?<=\w{4})(?:ing|ion|ed)$/, "")];
  const bare = (list) => list.filter((word) => !/^(?:the|a|an|of|and|to|in|on|for)$/.test(word)).join(" ");
  const keys = ["title", "section", "names", "symbols", "text", "code"];
  const place = (href) => /^reference\//.test(href) ? 0.4 : /^(?:ledger|mistakes|elsewhere|notation|index|plot)|#(?:sources|exercises)$/.test(href) ? 0.7 : 1;
  const prepare = (row, at, all) => {
    if (!row.title) {     // page and title are written once a page
      row.title = all[at - 1].title;
      row.href = all[at - 1].href.split("#")[0] + row.href;
    }
    row.found = {};
    keys.forEach((key) => {
      const list = words([].concat(row[key] || []).join(" "));
      row.found[key] = ` ${list.join(" ")} `;
    });
    const parts = (row.names || []).map((name) => name.split(/(?<=[a-z])(?=[A-Z])|[_-]/)).filter((part) => part.length > 1).flat().map((part) => part.toLowerCase());
    row.found.parts = ` ${parts.join(" ")} `;
    row.bare = { title: bare(words(row.title)), section: bare(words(row.section)) };
    row.place = place(row.href);
  };
  const load = () => loading || (loading = fetch(root.dataset.root + "search.bin")
    .then((answer) => new Response(answer.body.pipeThrough(new DecompressionStream("gzip"))).json())
    .then((found) => { found.forEach(prepare); rows = found; }, () => { rows = []; loading = null; }));
  const weights = { names: [50, 15], title: [70, 35], symbols: [50, 0], section: [35, 20], parts: [20, 10], text: [8, 5], code: [2, 1] };
  const score = (row, word) => {
    let total = 0;
    for (const [key, [whole, start]] of Object.entries(weights)) {
      const text = row.found[key], at = text.indexOf(" " + word);
      if (at < 0 || !start && !text.includes(` ${word} `)) continue;
      total += (text.includes(` ${word} `) ? whole : start) + Math.min(3, text.split(" " + word).length - 2);
    }
    return total;
  };
  const together = (row, phrase, several) => {   // more, where the words stand together, and most where nothing else does
    let more = 0;
    if (row.bare.title === phrase) more += row.section ? 60 : 100;
    else if (several && ` ${row.bare.title} `.includes(` ${phrase} `)) more += 25;
    if (row.bare.section === phrase) more += 30;
    else if (several && ` ${row.bare.section} `.includes(` ${phrase} `)) more += 20;
    if (several && ["_", ""].some((link) => row.found.names.includes(` ${phrase.replace(/ /g, link)} `))) more += 50;     // confusion_matrix
    return more + (several && row.found.text.includes(` ${phrase}`) ? 15 : 0);
  };
  const search = (query) => {
    const list = asked(query), phrase = bare(list), pages = new Map();
    const kept = bare(list) ? list.filter((word) => bare([word])) : list, wanted = kept.map(spellings), roots = kept.map(stems);
    const onlySymbols = list.every((word) => [...word].length === 1 || other.has(word));
    const hits = rows.map((row) => {
      const scores = wanted.map((forms, i) => Math.max(...forms.map((form) => score(row, form)), ...roots[i].map((root) => 0.6 * score(row, root))));
      const heading = list.length > 1 && wanted.every((forms, i) => [...forms, ...roots[i]].some((form) => (row.found.title + row.found.section).includes(` ${form}`)));
      const sum = scores.every((s) => s > 0) ? scores.reduce((a, b) => a + b, together(row, phrase, list.length > 1) + (heading ? 60 : 0)) : 0;
      const symbols = onlySymbols && /^notation/.test(row.href) && wanted.every((forms) => forms.some((form) => row.found.symbols.includes(` ${form} `)));
      return { row, score: sum * row.place + (symbols ? 200 : 0) };
    }).filter((hit) => hit.score > 0);
    hits.forEach((hit) => {   // a page that speaks of it in many places comes before one that mentions it
      const page = hit.row.href.split("#")[0];
      pages.set(page, (pages.get(page) || 0) + 1);
    });
    hits.forEach((hit) => { hit.score += hit.row.place * 2 * Math.min(8, pages.get(hit.row.href.split("#")[0])) + (hit.row.section ? 0 : 1); });
    return hits.sort((a, b) => b.score - a.score).slice(0, 12).map((hit) => hit.row);
  };
  const element = (name, cls, text) => Object.assign(document.createElement(name), { className: cls, textContent: text });
  const excerpt = (row, query) => {
    const text = row.text || "", low = text.toLowerCase(), forms = asked(query).flatMap(spellings);
    const first = forms.find((form) => low.includes(form)) || "", at = first ? low.indexOf(first) : 0;
    const inCode = !first && (row.code || "").split(" ").find((word) => forms.some((form) => word.toLowerCase().startsWith(form)));
    const start = Math.max(0, at - 50), line = element("div", "search-result-text", "");
    if (inCode) line.append("in code: ", element("mark", "", inCode));
    else if (first) line.append((start ? "…" : "") + text.slice(start, at), element("mark", "", text.slice(at, at + first.length)), text.slice(at + first.length, start + 150));
    else line.append(text.slice(0, 150));
    return line;
  };
  const run = async () => {
    const query = input.value.trim();
    await load();
    if (query !== input.value.trim()) return;
    results.replaceChildren();
    if (!asked(query).length) return;
    const found = search(query);
    if (!found.length) results.append(element("div", "search-none", "Nothing found"));
    found.forEach((row) => {
      const link = element("a", "search-result", "");
      link.href = root.dataset.root + row.href;
      link.append(element("div", "search-result-title", row.title));
      if (row.section) link.append(element("div", "search-result-section", row.section));
      link.append(excerpt(row, query));
      results.append(link);
    });
  };
  if (input) {
    const box = input.parentElement;
    input.addEventListener("focus", run);
    input.addEventListener("input", run);
    box.addEventListener("focusout", (event) => { if (event.relatedTarget && !box.contains(event.relatedTarget)) results.replaceChildren(); });
    box.addEventListener("keydown", (event) => {
      const links = $$("a", results), at = links.indexOf(document.activeElement);
      if (event.key === "Escape") { input.value = ""; results.replaceChildren(); input.focus(); }
      else if (event.key === "Enter" && at < 0 && links.length) links[0].click();
      else if (event.key === "ArrowDown" && links.length) links[Math.min(at + 1, links.length - 1)].focus();
      else if (event.key === "ArrowUp" && at >= 0) (at ? links[at - 1] : input).focus();
      else return;
      event.preventDefault();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) { event.preventDefault(); input.focus(); }
    });
    document.addEventListener("click", (event) => { if (!box.contains(event.target)) results.replaceChildren(); });
  }

  // ---- a box that scrolls can be reached with the keyboard; measured when nothing else is to do, for it costs a layout
  const kinds = { Equation: ".equation, .equation *", Table: ".table-box", Figure: ".figure-box", Code: "*" };
  const name = (box) => Object.keys(kinds).find((kind) => box.matches(kinds[kind])) + ", scrolls sideways";
  const more = (box) => box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
  const boxes = $$(".scroll");
  boxes.forEach((box) => box.addEventListener("scroll", () => more(box), { passive: true }));
  const mark = (box) => {
    if (!box.firstElementChild?.checkVisibility({ contentVisibilityAuto: true })) return;    // not laid out: marked when it is
    more(box);
    if (box.scrollWidth > box.clientWidth) {
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", name(box));
    } else if (box.tabIndex === 0) {
      ["tabindex", "role", "aria-label"].forEach((key) => box.removeAttribute(key));
    }
  };
  const idle = (work) => window.requestIdleCallback ? requestIdleCallback(work, { timeout: 500 }) : setTimeout(() => work({ didTimeout: true }), 50);
  const aimed = () => document.getElementById(decodeURIComponent(location.hash.slice(1)));
  let round = 0;
  const markAll = () => {
    const mine = ++round, waiting = boxes.slice();
    delete root.dataset.boxes;
    const work = (time) => {
      if (mine !== round) return;
      do { if (waiting.length) mark(waiting.shift()); } while (waiting.length && (time.didTimeout || time.timeRemaining() > 2));
      if (waiting.length) idle(work);
      else {
        if (!("acted" in root.dataset) && location.hash) aimed()?.scrollIntoView({ behavior: "instant" });   // fonts that came late have moved it
        root.dataset.boxes = "marked";
      }
    };
    idle(work);
  };
  markAll();
  addEventListener("resize", markAll);
  addEventListener("load", markAll);
  if (document.fonts) document.fonts.addEventListener("loadingdone", markAll);
  ["wheel", "touchstart", "pointerdown", "keydown"].forEach((act) => addEventListener(act, () => { root.dataset.acted = ""; }, { once: true, passive: true }));
  document.addEventListener("contentvisibilityautostatechange", (event) => {
    if (!event.skipped && event.target.matches(".scroll")) mark(event.target);
  });
  $$("details").forEach((fold) => fold.addEventListener("toggle", () => $$(".scroll", fold).forEach(mark)));

  // ---- the equation a link names, shown beside the link
  const pages = new Map();
  const equation = async (link) => {
    const url = new URL(link.href);
    const id = decodeURIComponent(url.hash.slice(1));
    if (url.pathname === location.pathname) return document.getElementById(id);
    if (!pages.has(url.pathname)) {
      pages.set(url.pathname, fetch(url.pathname).then((answer) => answer.text())
        .then((text) => new DOMParser().parseFromString(text, "text/html")));
    }
    return (await pages.get(url.pathname)).getElementById(id);
  };
  let popup = null, wanted = null;
  const hide = () => { wanted = null; if (popup) { popup.remove(); popup = null; } };
  const show = async (link) => {
    hide();
    wanted = link;
    let box = null;
    try { box = await equation(link); } catch (e) { return; }
    const formula = box && $(".equation-formula", box);
    if (!formula || wanted !== link) return;
    popup = document.createElement("div");
    popup.className = "equation-popup";
    popup.setAttribute("aria-hidden", "true");
    popup.append(formula.cloneNode(true));
    $$("[id], [tabindex]", popup).forEach((e) => { e.removeAttribute("id"); e.removeAttribute("tabindex"); });
    document.body.append(popup);
    const here = popup;
    const follow = () => {      // the link may move: while the page scrolls, or when what is above it is laid out
      if (popup !== here) return;
      const at = link.getBoundingClientRect(), size = popup.getBoundingClientRect();
      const below = at.bottom + 8 + size.height < innerHeight;
      popup.style.left = `${Math.min(Math.max(8, at.left), innerWidth - size.width - 8) + scrollX}px`;
      popup.style.top = `${(below ? at.bottom + 8 : at.top - size.height - 8) + scrollY}px`;
      requestAnimationFrame(follow);
    };
    follow();
  };
  $$('main a[href*="#eq-"]').forEach((link) => {
    link.addEventListener("mouseenter", () => show(link));
    link.addEventListener("focus", () => show(link));
    link.addEventListener("mouseleave", hide);
    link.addEventListener("blur", hide);
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
})();
