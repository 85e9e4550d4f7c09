"use strict";
(() => {
  const TEXTS = {
    en: {
      skip: "To the content", control: "Control room", docs: "API", live: "live", away: "no answer; trying again", waiting: "Waiting for the first counts.", paused: "waiting",
      value: "Value", running: "Now", last: "Before", empty: "Nothing was counted yet.", count: "count", sum: "sum",
      average: "average", least: "least", most: "most",
      by: (dimension, window, drawn) => `By ${dimension}, in windows of ${window}: ${drawn}`,
    },
    ja: {
      skip: "本文へ", control: "管制室", docs: "API", live: "ライブ", away: "応答なし、再接続中", waiting: "最初の集計を待っています。", paused: "待機中",
      value: "値", running: "現在", last: "一つ前", empty: "まだ何も集計されていません。", count: "件数", sum: "合計",
      average: "平均", least: "最小", most: "最大",
      by: (dimension, window, drawn) => `${dimension} 別、${window} ごとの${drawn}`,
    },
  };
  const UNITS = { en: { s: "s", m: "min", h: "h", d: "d" }, ja: { s: "秒", m: "分", h: "時間", d: "日" } };
  const AGAIN = 3000;
  const language = navigator.languages.map(name => name.slice(0, 2)).find(name => name in TEXTS) ?? "en";
  const T = TEXTS[language];
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = T[element.dataset.text];
  if (language === "ja") for (const element of document.querySelectorAll("[data-ja]")) element.textContent = element.dataset.ja;
  document.title = document.querySelector("h1").textContent;

  const state = document.getElementById("state");
  function say(text, tone) {
    state.className = `badge ${tone}`;
    if (state.textContent !== text) state.textContent = text;
  }
  const plots = [...document.querySelectorAll(".chart")].map(section => {
    const { dimension, window: length, drawn } = section.dataset;
    const window = length.replace(/[a-z]$/, unit => ` ${UNITS[language][unit]}`);
    section.querySelector(".what").textContent = T.by(dimension, window, drawn.split(" ").map(name => T[name]).join(", "));
    const empty = section.querySelector(".empty");
    const plot = new linePlot.Plot({ place: section.querySelector(".plot"), rows: section.querySelector("tbody"), language, texts: T });
    return drawing => {
      const hasNone = !drawing.lines.length;
      empty.hidden = !hasNone;
      if (hasNone) empty.textContent = T.empty;
      for (const part of section.querySelectorAll(".plot, .scroll")) part.hidden = hasNone;
      plot.show(drawing);
    };
  });

  let source = null;
  function open() {
    source = new EventSource("/v1/live/charts");
    source.onopen = () => say(T.live, "good");
    source.addEventListener("chart", event => {
      const { chart, drawing } = JSON.parse(event.data);
      plots[chart]?.(drawing);
    });
    source.onerror = () => {
      say(T.away, "bad");
      // The browser tries again by itself, unless it was refused.
      if (source.readyState === EventSource.CLOSED) setTimeout(open, AGAIN);
    };
  }
  say(T.paused, "warn");
  // Nobody looks at a page that is hidden.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { source?.close(); source = null; say(T.paused, "warn"); } else if (!source) open();
  });
  if (!document.hidden) open();
})();
