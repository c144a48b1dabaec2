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
    const here = $(".sidebar-link.active", sidebar);
    if (here) sidebar.scrollTop = Math.max(0, here.offsetTop - sidebar.clientHeight / 2);
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
  if (contents.length) { addEventListener("scroll", follow, { passive: true }); follow(); }

  // ---- docstrings: the summary, and at a click the rest, which the API reference shows as tables
  $$("div.exported code span.st").forEach((docstring) => {
    const text = docstring.textContent, end = text.lastIndexOf('"""');
    const start = text.search(/\n\n *(?:Parameters|Attributes|Returns|Yields|Raises|References|Examples)\n *-+\n/);
    if (!text.startsWith('"""') || start < 0 || docstring.children.length) return;
    const rest = Object.assign(document.createElement("span"), { textContent: text.slice(start, end), className: "docstring-rest", hidden: true });
    const button = Object.assign(document.createElement("button"), { type: "button", className: "docstring-button" });
    button.setAttribute("aria-label", "The rest of the docstring");
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => {
      rest.hidden = !rest.hidden;
      button.setAttribute("aria-expanded", String(!rest.hidden));
    });
    docstring.replaceChildren(text.slice(0, start), button, rest, text.slice(end));
  });

  // ---- copying code
  $$(".code-copy-button").forEach((button) => button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText($("pre code", button.parentElement).textContent); } catch (e) { return; }
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1500);
  }));

  // ---- search: every word must occur; names and titles weigh more than prose, prose more than code
  const input = $(".book-search input"), results = $(".search-results");
  let rows = null;
  const words = (text) => text.normalize("NFC").toLowerCase().match(/eq-[\w-]+|[\p{L}\p{N}_]+/gu) || [];
  const load = async () => {
    if (rows) return;
    try { rows = await (await fetch(root.dataset.root + "search.json")).json(); } catch (e) { rows = []; }
    rows.forEach((row) => {
      row.found = Object.fromEntries(["title", "section", "text", "code"].map((key) => [key, words(row[key])]));
      row.found.names = row.names.flatMap((name) => [name, ...name.split(/(?<=[a-z])(?=[A-Z])|_/)]).map((n) => n.toLowerCase());
    });
  };
  const weights = { names: [60, 25], title: [70, 35], section: [35, 20], text: [8, 5], code: [2, 1] };
  const score = (row, word) => {
    let total = 0;
    for (const [key, [whole, start]] of Object.entries(weights)) {
      const hits = row.found[key].filter((w) => w.startsWith(word));
      if (hits.length) total += (hits.includes(word) ? whole : start) + Math.min(3, hits.length - 1);
    }
    return total;
  };
  const search = (query) => {
    const asked = words(query), pages = new Map();
    const hits = rows.map((row) => {
      const scores = asked.map((word) => score(row, word)), same = (key) => row.found[key].join(" ") === asked.join(" ");
      const named = (same("title") ? 60 : 0) + (same("section") ? 20 : 0);
      return { row, score: scores.every((s) => s > 0) ? scores.reduce((a, b) => a + b, named) : 0 };
    }).filter((hit) => hit.score > 0);
    hits.forEach((hit) => {   // a page that speaks of it in many places comes before one that mentions it
      const page = hit.row.href.split("#")[0];
      pages.set(page, (pages.get(page) || 0) + 1);
    });
    hits.forEach((hit) => { hit.score += 2 * Math.min(8, pages.get(hit.row.href.split("#")[0])) + (hit.row.section ? 0 : 1); });
    return hits.sort((a, b) => b.score - a.score).slice(0, 12).map((hit) => hit.row);
  };
  const element = (name, cls, text) => Object.assign(document.createElement(name), { className: cls, textContent: text });
  const excerpt = (row, query) => {
    const first = words(query)[0] || "", at = row.text.toLowerCase().indexOf(first);
    const text = at < 0 && row.code.toLowerCase().includes(first) ? row.code : row.text;
    const start = Math.max(0, text.toLowerCase().indexOf(first) - 50);
    const line = element("div", "search-result-text", (start ? "…" : "") + text.slice(start, start + 150));
    const found = line.textContent.toLowerCase().indexOf(first);
    if (first && found >= 0) {
      const range = document.createRange();
      range.setStart(line.firstChild, found);
      range.setEnd(line.firstChild, found + first.length);
      range.surroundContents(document.createElement("mark"));
    }
    return line;
  };
  const run = async () => {
    const query = input.value.trim();
    await load();
    if (query !== input.value.trim()) return;
    results.replaceChildren();
    if (!words(query).length) return;
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
    input.addEventListener("focus", load);
    input.addEventListener("input", run);
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

  // ---- a box that scrolls can be reached with the keyboard
  const name = (box) => box.closest(".equation") ? "Equation, scrolls sideways"
    : box.matches(".table-box") ? "Table, scrolls sideways" : "Code, scrolls sideways";
  const more = (box) => box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
  $$(".scroll").forEach((box) => box.addEventListener("scroll", () => more(box), { passive: true }));
  const mark = () => $$(".scroll").forEach((box) => {
    more(box);
    if (box.scrollWidth > box.clientWidth) {
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", name(box));
    } else if (box.tabIndex === 0) {
      ["tabindex", "role", "aria-label"].forEach((key) => box.removeAttribute(key));
    }
  });
  mark();
  addEventListener("resize", mark);
  addEventListener("load", mark);
  if (document.fonts) document.fonts.addEventListener("loadingdone", mark);
  $$("details").forEach((fold) => fold.addEventListener("toggle", mark));

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
  let popup = null, asked = null;
  const hide = () => { asked = null; if (popup) { popup.remove(); popup = null; } };
  const show = async (link) => {
    hide();
    asked = link;
    let box = null;
    try { box = await equation(link); } catch (e) { return; }
    const formula = box && $(".equation-formula", box);
    if (!formula || asked !== link) return;
    popup = document.createElement("div");
    popup.className = "equation-popup";
    popup.setAttribute("aria-hidden", "true");
    popup.append(formula.cloneNode(true));
    $$("[id], [tabindex]", popup).forEach((e) => { e.removeAttribute("id"); e.removeAttribute("tabindex"); });
    document.body.append(popup);
    const at = link.getBoundingClientRect(), size = popup.getBoundingClientRect();
    const left = Math.min(Math.max(8, at.left), innerWidth - size.width - 8);
    const below = at.bottom + 8 + size.height < innerHeight;
    popup.style.left = `${left + scrollX}px`;
    popup.style.top = `${(below ? at.bottom + 8 : at.top - size.height - 8) + scrollY}px`;
  };
  $$('main a[href*="#eq-"]').forEach((link) => {
    link.addEventListener("mouseenter", () => show(link));
    link.addEventListener("focus", () => show(link));
    link.addEventListener("mouseleave", hide);
    link.addEventListener("blur", hide);
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
})();
