// What pages do beyond HTML and htmx. Everything of importance works without it.
(function () {
  "use strict";

  // What was last put into each part that refreshes itself: what did not change is left alone.
  var last = new WeakMap();

  function refreshes(element) {
    return element.matches("[hx-trigger*='every']");
  }

  // Nobody looks, or somebody is just using that part: it is refreshed the next time.
  function leaveAlone(target) {
    if (document.hidden) return true;
    var selection = document.getSelection();
    if (selection && !selection.isCollapsed && target.contains(selection.anchorNode)) return true;
    var focused = document.activeElement;
    return target.contains(focused) && focused.matches("input, select, textarea, button:not([id])"); // htmx gives what has an id its focus back
  }

  document.addEventListener("htmx:beforeRequest", function (event) {
    if (refreshes(event.detail.elt) && leaveAlone(event.detail.target)) event.preventDefault();
  });

  document.addEventListener("htmx:beforeSwap", function (event) {
    var detail = event.detail;
    if (!detail.xhr.getResponseHeader("X-Request-Id")) { // not from Usher: something between here and there failed
      detail.shouldSwap = false;
      say("Usher cannot be reached. This page tries again by itself.");
      return;
    }
    unsay();
    if (!detail.elt || !refreshes(detail.requestConfig.elt) || detail.xhr.status !== 200) return;
    if (last.get(detail.requestConfig.elt) === detail.xhr.responseText) detail.shouldSwap = false;
    last.set(detail.requestConfig.elt, detail.xhr.responseText);
  });

  document.addEventListener("htmx:sendError", function () {
    say("Usher cannot be reached. This page tries again by itself.");
  });

  function say(text) {
    if (document.getElementById("unreachable")) return;
    var notice = document.createElement("p");
    notice.id = "unreachable";
    notice.className = "notice bad";
    notice.textContent = text;
    document.getElementById("messages").append(notice);
  }

  function unsay() {
    var notice = document.getElementById("unreachable");
    if (notice) notice.remove();
  }

  // <button data-copy="ID">Copy</button> copies the text of that element.
  document.addEventListener("click", function (event) {
    var button = event.target.closest("[data-copy]");
    if (!button || !navigator.clipboard) return;
    var from = document.getElementById(button.dataset.copy);
    navigator.clipboard.writeText("value" in from ? from.value : from.textContent.trim()).then(function () {
      var label = button.textContent;
      button.textContent = "Copied";
      setTimeout(function () { button.textContent = label; }, 2000);
    });
  });

  // <form data-drop> takes a file that is dropped on it, for its file field.
  ["dragover", "dragleave", "drop"].forEach(function (kind) {
    document.addEventListener(kind, function (event) {
      var form = event.target.closest && event.target.closest("[data-drop]");
      var holdsFiles = event.dataTransfer && Array.prototype.indexOf.call(event.dataTransfer.types, "Files") >= 0;
      if (!form || !holdsFiles) return;
      event.preventDefault();
      form.classList.toggle("dropping", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) form.querySelector("[type=file]").files = event.dataTransfer.files;
    });
  });

  // The second click of a double click does nothing: by then another page may be under the mouse.
  document.addEventListener("click", function (event) {
    if (event.detail < 2 || !event.target.closest("button")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);

  // / goes to the field with data-slash, from everywhere where it is not typed.
  document.addEventListener("keydown", function (event) {
    var field = document.querySelector("[data-slash]");
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || !field || event.target.closest("input, select, textarea, [contenteditable]")) return;
    event.preventDefault();
    field.focus();
    field.select();
  });

  // <form data-ticked> counts its ticked boxes, and can tick them all.
  function boxesOf(form) {
    return Array.prototype.slice.call(form.querySelectorAll("input[type=checkbox][name=id]"));
  }

  function countTicked(form) {
    var all = form.querySelector("[data-tick-all]");
    var boxes = boxesOf(form);
    var ticked = boxes.filter(function (box) { return box.checked; }).length;
    if (!all) return;
    all.hidden = boxes.length < 2;
    all.querySelector("input").checked = ticked > 0 && ticked === boxes.length;
    all.querySelector("input").indeterminate = ticked > 0 && ticked < boxes.length;
    form.querySelector("[data-tick-count]").textContent = ticked ? ticked + " ticked" : "";
  }

  document.addEventListener("change", function (event) {
    var form = event.target.closest("[data-ticked]");
    if (!form) return;
    if (event.target.closest("[data-tick-all]")) boxesOf(form).forEach(function (box) { box.checked = event.target.checked; });
    countTicked(form);
  });

  function countAllTicked() { document.querySelectorAll("[data-ticked]").forEach(countTicked); }

  document.addEventListener("htmx:afterSwap", countAllTicked);
  window.addEventListener("pageshow", countAllTicked); // a browser that goes back keeps what was ticked

  // <button data-confirm="Really?"> asks before its form is sent.
  document.addEventListener("click", function (event) {
    var button = event.target.closest("[data-confirm]");
    if (button && !window.confirm(button.dataset.confirm)) event.preventDefault();
  });
})();
