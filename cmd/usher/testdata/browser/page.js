// What a test asks of a page, as a person would: by the words that stand there. Evaluated anew for each question.
(() => {
  const tidy = (text) => (text || "").replace(/\s+/g, " ").trim();
  const seen = (el) => el.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && el.getClientRects().length > 0;
  const named = (el) => {
    const by = el.getAttribute("aria-labelledby");
    if (by) return tidy(by.split(/\s+/).map((id) => document.getElementById(id)?.textContent).join(" "));
    if (el.getAttribute("aria-label")) return tidy(el.getAttribute("aria-label"));
    if (el.labels?.length) return tidy([...el.labels].map((label) => [...label.childNodes].filter((n) => !n.contains(el)).map((n) => n.textContent).join(" ")).join(" "));
    if (el.matches("input")) return tidy(el.value);
    return tidy(el.textContent) || tidy(el.title);
  };
  const kinds = {
    press: "button, input[type=submit], input[type=button], [role=button], summary, a[href], input[type=checkbox], input[type=radio]",
    field: "input:not([type=hidden]):not([type=submit]), textarea, select",
  };
  // The smallest thing on the page that holds the words, for "the button in the row of Ada".
  const around = (words) => {
    if (!words) return document;
    const all = [...document.querySelectorAll("tr, li, article, section, form, fieldset, dialog, nav, main, body")];
    const holding = all.filter((el) => seen(el) && tidy(el.textContent).includes(words));
    return holding.at(-1) && holding.reduce((least, el) => (least.contains(el) ? el : least));
  };
  const find = (kind, name, words) => {
    const place = around(words);
    if (!place) return { problem: `nothing on the page holds "${words}"` };
    const all = [...place.querySelectorAll(kinds[kind])].filter(seen);
    let fitting = all.filter((el) => named(el) === name);
    if (!fitting.length) fitting = all.filter((el) => named(el).startsWith(name));
    if (fitting.length) return { el: fitting[0], many: fitting.length };
    return { problem: `there is no ${kind} "${name}"; there are: ${all.map((el) => `"${named(el)}"`).join(", ") || "none"}` };
  };
  const spot = (el) => {
    el.scrollIntoView({ block: "center", behavior: "instant" });
    const box = [...el.getClientRects()].find((r) => r.width > 0 && r.height > 0);
    const x = box.x + box.width / 2;
    const y = box.y + box.height / 2;
    const top = document.elementFromPoint(x, y);
    if (!top || !(el.contains(top) || top.contains(el))) return { problem: `"${named(el)}" is covered by ${top?.outerHTML.slice(0, 120)}` };
    if (el.disabled) return { problem: `"${named(el)}" is disabled` };
    return { x, y };
  };
  return {
    spot(kind, name, words) {
      const { el, problem } = find(kind, name, words);
      return problem ? { problem } : spot(el);
    },
    focus(name) {
      const { el, problem } = find("field", name);
      if (problem) return { problem };
      if (el.disabled || el.readOnly) return { problem: `"${name}" cannot be filled` };
      el.focus();
      el.select?.();
      return { x: 0, y: 0 };
    },
    choose(name, option) {
      const { el, problem } = find("field", name);
      if (problem) return { problem };
      const wanted = [...el.options].find((o) => tidy(o.textContent) === option || o.value === option);
      if (!wanted) return { problem: `"${name}" offers ${[...el.options].map((o) => `"${tidy(o.textContent)}"`).join(", ")}, not "${option}"` };
      el.value = wanted.value;
      el.dispatchEvent(new Event("input", { bubbles: true }));
      el.dispatchEvent(new Event("change", { bubbles: true }));
      return { x: 0, y: 0 };
    },
    file() {
      return document.querySelector("input[type=file]");
    },
    focused() {
      const el = document.activeElement;
      return !el || el === document.body ? "" : named(el);
    },
    text() {
      return document.readyState === "loading" ? "" : tidy(document.body?.innerText);
    },
    // What stands out of the page's right edge, innermost; not what a scrolling box around it keeps in.
    overflow(text) {
      const width = Number(text);
      const kept = (el) => {
        for (let box = el.parentElement; box && box !== document.body; box = box.parentElement)
          if (getComputedStyle(box).overflowX !== "visible") return true;
        return false;
      };
      if (document.documentElement.scrollWidth <= width) return [];
      const wide = [...document.body.querySelectorAll("*")].filter((el) => seen(el) && el.getBoundingClientRect().right > width + 0.5 && !kept(el));
      const inner = wide.filter((el) => !wide.some((other) => other !== el && el.contains(other)));
      return [`the page is ${document.documentElement.scrollWidth} px wide`, ...inner.slice(0, 5).map((el) => el.outerHTML.slice(0, 160))];
    },
    async axe() {
      const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
      const { violations } = await axe.run(document, { resultTypes: ["violations"], runOnly: { type: "tag", values: tags } });
      return violations.filter((v) => v.impact === "serious" || v.impact === "critical")
        .map((v) => `${v.impact} ${v.id}: ${v.help}\n` + v.nodes.slice(0, 5).map((n) => `    ${n.target.join(" ")}  ${n.html.slice(0, 160)}\n      ${tidy(n.failureSummary)}`).join("\n"));
    },
  };
})()
