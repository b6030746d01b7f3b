// Theme, menu, relative times, and changes as they happen. Pages are complete without any of it.
"use strict";
(function () {
  var root = document.documentElement;
  var stored = null;
  try { stored = localStorage.getItem("sds-theme"); } catch (error) { stored = null; }
  if (stored === "light" || stored === "dark") { root.dataset.theme = stored; }
  root.classList.add("js");

  function dark() {
    if (root.dataset.theme) { return root.dataset.theme === "dark"; }
    return matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function theme() {
    var button = document.querySelector("[data-theme-toggle]");
    if (!button) { return; }
    button.hidden = false;
    button.addEventListener("click", function () {
      root.dataset.theme = dark() ? "light" : "dark";
      try { localStorage.setItem("sds-theme", root.dataset.theme); } catch (error) { /* only for this page then */ }
    });
  }

  function menu() {
    var button = document.querySelector("[data-menu]");
    if (!button) { return; }
    button.addEventListener("click", function () {
      var open = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", String(open));
      document.body.classList.toggle("nav-open", open);
    });
  }

  var units = [[31536000, "y"], [2592000, "mo"], [86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

  function span(seconds) {
    for (var i = 0; i < units.length; i += 1) {
      var size = units[i][0];
      if (seconds >= size) {
        var count = Math.floor(seconds / size);
        var next = units[i + 1];
        if (count < 3 && next) {
          var smaller = Math.floor((seconds % size) / next[0]);
          if (smaller) { return count + " " + units[i][1] + " " + smaller + " " + next[1]; }
        }
        return count + " " + units[i][1];
      }
    }
    return "0 s";
  }

  // By the server's clock: the footer has its time, and how old that is we measure ourselves.
  var drift = 0;

  function clock() {
    var given = document.querySelector("footer time");
    if (given) { drift = Date.parse(given.dateTime) - Date.now(); }
  }

  function times() {
    document.querySelectorAll("time[datetime]").forEach(function (each) {
      var away = Math.round((Date.parse(each.dateTime) - Date.now() - drift) / 1000);
      if (isNaN(away)) { return; }
      var text = away === 0 ? "now" : away > 0 ? "in " + span(away) : span(-away) + " ago";
      if (each.textContent !== text) { each.textContent = text; }
    });
  }

  function tell(topic) {
    if (window.htmx) { window.htmx.trigger(document.body, "sds:" + topic); }
  }

  // However much happens, a part is asked for anew every three seconds at most.
  var last = {};
  var waiting = {};

  function soon(topic) {
    if (waiting[topic]) { return; }
    var rest = Math.max(200, 3000 - (Date.now() - (last[topic] || 0)));
    waiting[topic] = setTimeout(function () {
      waiting[topic] = null;
      last[topic] = Date.now();
      tell(topic);
    }, rest);
  }

  function say(text) {
    var said = document.querySelector("[data-said]");
    if (said && said.textContent !== text) { said.textContent = text; }
  }

  function typing() {
    var at = document.activeElement;
    return at && at.closest && at.closest("[hx-get]") && at.matches("input, select, textarea, button, a");
  }

  // A part in which somebody is moving about is left alone until they are out of it.
  document.addEventListener("htmx:beforeSwap", function (event) {
    var at = document.activeElement;
    if (event.target !== at && event.target.contains(at) && typing()) { event.detail.shouldSwap = false; }
    if (event.detail.xhr.status !== 200) { event.detail.shouldSwap = false; }
  });

  function live() {
    var shown = document.querySelector("[data-live]");
    if (!shown || !document.querySelector("[hx-trigger]")) { return; }
    var text = document.querySelector("[data-live-text]");
    var topics = {};
    document.querySelectorAll("[hx-trigger]").forEach(function (each) {
      (each.getAttribute("hx-trigger").match(/sds:[a-z]+/g) || []).forEach(function (one) { topics[one.slice(4)] = true; });
    });
    var polling = null;

    function poll() {
      if (polling === null) {
        polling = setInterval(function () { Object.keys(topics).forEach(tell); }, 15000);
        shown.classList.add("polling");
        text.textContent = "Every 15 s";
        say("Changes are asked for every 15 seconds.");
      }
    }

    function streaming() {
      if (polling !== null) {
        clearInterval(polling);
        polling = null;
        say("Changes are shown as they happen.");
      }
      shown.classList.remove("polling");
      text.textContent = "Live";
    }

    shown.hidden = false;
    if (!window.EventSource) { poll(); return; }
    var source = null;

    function connect() {
      source = new EventSource("/changes");
      source.addEventListener("open", streaming);
      source.addEventListener("changed", function (event) { if (topics[event.data]) { soon(event.data); } });
      source.addEventListener("error", function () {
        poll();
        // A refusal closes the source for good; a cut is mended by the browser itself.
        if (source.readyState === 2) { setTimeout(function () { source.close(); connect(); }, 60000); }
      });
    }

    connect();
    addEventListener("pagehide", function () { source.close(); });
    addEventListener("pageshow", function (event) { if (event.persisted) { source.close(); connect(); } });
    document.addEventListener("visibilitychange", function () {
      source.close();
      if (!document.hidden) {
        connect();
        Object.keys(topics).forEach(tell);
      }
    });
  }

  document.addEventListener("htmx:afterSettle", times);
  document.addEventListener("DOMContentLoaded", function () {
    theme();
    menu();
    clock();
    times();
    setInterval(times, 10000);
    setTimeout(live, 0);
  });
})();
