"use strict";
(() => {
  const TEXTS = {
    en: {
      skip: "To the content", room: "Control room", steps: "Steps", events: "Events", log: "Log", parked: "Set aside",
      signIn: "Sign in", signOut: "Sign out", token: "Token",
      signInWhy: "Paste a token with the role admin. It is kept for this tab alone.",
      name: "Name", stateOf: "State", generation: "Generation", lag: "Lag, events", seconds: "Lag, s", rate: "Events/s",
      overTime: "Rate over time", actions: "Actions", eventsTitle: "Events appended a second", topics: "Topics", topic: "Topic",
      partitions: "Partitions", partition: "Partition", records: "Records", kept: "Kept", forever: "for ever",
      logTitle: "A look into the log", key: "Key", from: "From offset", since: "Since", look: "Look", follow: "Follow", more: "More",
      parkedTitle: "Records that were set aside", nothingParked: "Nothing is set aside.", nothingFound: "No record was found.",
      rebuild: "Rebuild", rollback: "Roll back", cancel: "Cancel the rebuild", no: "Leave it", close: "Close", show: "Show",
      retry: "Retry", discard: "Discard", error: "Error", position: "Position", at: "Set aside at", step: "Step",
      well: "all is well", ill: n => `${n} ill`, away: "no answer", days: n => `${n} days`,
      askRebuild: n => [`Rebuild ${n}?`, "A new generation is built from the log beside the live one. Readers notice nothing until it is switched to."],
      askRollback: n => [`Roll ${n} back?`, "The generation before becomes live again, and catches up with the log by itself."],
      askCancel: n => [`Give up the rebuild of ${n}?`, "What was built so far is removed. The live generation stays."],
      askRetry: () => ["Retry this record?", "It is applied or delivered after all, with what waits behind it."],
      askDiscard: () => ["Discard this record?", "It is never applied or delivered. What waited behind it is."],
      done: o => `${o.applied} applied, ${o.discarded} discarded, ${o.refused.length} failed again`,
      notAdmin: "This token is not accepted here, or its role is not admin.", waits: "waits behind an earlier one",
    },
    ja: {
      skip: "本文へ", room: "管制室", steps: "ステップ", events: "イベント", log: "ログ", parked: "保留",
      signIn: "サインイン", signOut: "サインアウト", token: "トークン",
      signInWhy: "admin 権限のトークンを貼り付けてください。このタブだけに保存されます。",
      name: "名前", stateOf: "状態", generation: "世代", lag: "遅れ（件）", seconds: "遅れ（秒）", rate: "件／秒",
      overTime: "速度の推移", actions: "操作", eventsTitle: "毎秒の追加イベント数", topics: "トピック", topic: "トピック",
      partitions: "パーティション", partition: "パーティション", records: "レコード", kept: "保存期間", forever: "無期限",
      logTitle: "ログを見る", key: "キー", from: "開始オフセット", since: "開始時刻", look: "表示", follow: "追跡", more: "さらに表示",
      parkedTitle: "保留されたレコード", nothingParked: "保留されたレコードはありません。", nothingFound: "レコードが見つかりません。",
      rebuild: "再構築", rollback: "元に戻す", cancel: "再構築を中止", no: "やめる", close: "閉じる", show: "詳細",
      retry: "再試行", discard: "破棄", error: "エラー", position: "位置", at: "保留時刻", step: "ステップ",
      well: "正常", ill: n => `異常 ${n} 件`, away: "応答なし", days: n => `${n} 日`,
      askRebuild: n => [`${n} を再構築しますか？`, "稼働中の世代の横で新しい世代をログから作ります。切り替えまで読者への影響はありません。"],
      askRollback: n => [`${n} を元に戻しますか？`, "一つ前の世代が稼働し、自動的にログに追いつきます。"],
      askCancel: n => [`${n} の再構築を中止しますか？`, "途中まで作られた世代は削除されます。稼働中の世代は残ります。"],
      askRetry: () => ["このレコードを再試行しますか？", "後ろで待っているレコードと一緒に適用または配送されます。"],
      askDiscard: () => ["このレコードを破棄しますか？", "このレコードは適用されません。後ろで待っていたレコードは適用されます。"],
      done: o => `適用 ${o.applied}、破棄 ${o.discarded}、再失敗 ${o.refused.length}`,
      notAdmin: "このトークンは受け付けられないか、admin 権限がありません。", waits: "先のレコードを待っています",
    },
  };
  const language = navigator.languages.map(name => name.slice(0, 2)).find(name => name in TEXTS) ?? "en";
  const T = TEXTS[language];
  const LOOK_EVERY = 2000, HISTORY = 150;
  const $ = id => document.getElementById(id);
  const make = (tag, props = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), props);
    element.append(...children);
    return element;
  };
  const number = value => value == null ? "?" : new Intl.NumberFormat(language, { maximumFractionDigits: 1 }).format(value);
  document.documentElement.lang = language;
  document.title = T.room;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = T[element.dataset.text];

  let token = sessionStorage.getItem("token");
  class Refused extends Error {
    constructor(status, problem) { super(problem.detail ?? problem.title ?? String(status)); this.status = status; }
  }
  async function ask(path, method = "GET") {
    const answer = await fetch(path, { method, headers: { Authorization: `Bearer ${token}` }, cache: "no-store" });
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Refused(answer.status, body);
    return body;
  }
  function complain(error) {
    $("problem").textContent = error ? error.message : "";
    $("problem").hidden = !error;
  }
  function confirmed([title, text], yes) {
    $("ask-title").textContent = title;
    $("ask-text").textContent = text;
    $("ask-yes").textContent = yes;
    const dialog = $("ask");
    dialog.returnValue = "no";
    dialog.showModal();
    return new Promise(resolve => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
  }
  async function act(question, yes, path, then) {
    if (!await confirmed(question, yes)) return;
    try {
      const done = await ask(path, "POST");
      complain(null);
      then?.(done);
      await look();
    } catch (error) { complain(error); }
  }

  // --- the steps ---
  const rates = new Map();
  function remember(history, value) {
    history.push(value);
    if (history.length > HISTORY) history.shift();
  }
  function spark(history) {
    const SVG = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "spark");
    svg.setAttribute("viewBox", "0 0 100 20");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const most = Math.max(1, ...history);
    const line = document.createElementNS(SVG, "polyline");
    line.setAttribute("points", history.map((value, at) => `${(100 * at) / HISTORY},${19 - (18 * value) / most}`).join(" "));
    svg.append(line);
    return svg;
  }
  const TONES = { running: "good", starting: "warn", waiting: "warn" };
  function buttons(step) {
    const name = encodeURIComponent(step.name);
    const button = (text, path, question) => {
      const element = make("button", { type: "button", textContent: text });
      element.setAttribute("aria-label", `${text}: ${step.name}`);
      element.onclick = () => act(question(step.name), text, `/v1/admin/steps/${name}/${path}`);
      return element;
    };
    if (step.kind !== "projector") return [];
    if (step.rebuild) return [button(T.cancel, "cancel", T.askCancel)];
    return [button(T.rebuild, "rebuild", T.askRebuild), button(T.rollback, "rollback", T.askRollback)];
  }
  function showSteps(steps) {
    const rows = [];
    for (const step of steps) {
      if (!rates.has(step.name)) rates.set(step.name, []);
      const history = rates.get(step.name);
      remember(history, step.events_per_second);
      const notes = [...step.complaints, ...step.notes];
      const row = make("tr", { className: notes.length ? "step-row with-note" : "step-row" },
        make("td", {}, step.name),
        make("td", {}, make("span", { className: `badge ${step.ill ? "bad" : TONES[step.state] ?? "bad"}`, textContent: step.state })),
        make("td", { className: "number", textContent: step.generation ?? "–" }),
        make("td", { className: "number", textContent: number(step.lag.events) }),
        make("td", { className: "number", textContent: number(step.lag.seconds) }),
        make("td", { className: "number", textContent: number(step.events_per_second) }),
        make("td", {}, spark(history)),
        make("td", { className: "number", textContent: number(step.parked) }),
        make("td", {}, make("div", { className: "actions" }, ...buttons(step))));
      row.dataset.step = step.name;
      rows.push(row);
      if (notes.length) {
        const cell = make("td", { colSpan: 9, className: step.complaints.length ? "" : "quiet", textContent: notes.join(" · ") });
        rows.push(make("tr", { className: "complaint" }, cell));
      }
    }
    // Whoever is at a button keeps it.
    const at = document.activeElement?.getAttribute("aria-label");
    $("step-rows").replaceChildren(...rows);
    if (at) $("step-rows").querySelector(`button[aria-label="${CSS.escape(at)}"]`)?.focus();
    const ill = steps.filter(step => step.ill).length;
    $("state").className = `badge ${ill ? "bad" : "good"}`;
    const said = ill ? T.ill(ill) : T.well;
    if ($("state").textContent !== said) $("state").textContent = said;
  }

  // --- the topics, and how many records they get a second ---
  let chart = null, before = null;
  const times = [], series = new Map();
  const COLOURS = ["#14808f", "#b8651b", "#7a5bb5", "#4c8a3f"];
  function showTopics(topics, now) {
    const end = topic => topic.partitions.reduce((sum, partition) => sum + partition.end, 0);
    const seconds = before ? (now - before.at) / 1000 : 0;
    const rate = topic => before?.ends.has(topic.name) ? Math.max(0, end(topic) - before.ends.get(topic.name)) / seconds : 0;
    const found = topics.map(topic => ({ topic, rate: rate(topic) }));
    const kept = topic => topic.retention_seconds == null ? T.forever : T.days(number(topic.retention_seconds / 86400));
    $("topic-rows").replaceChildren(...found.map(({ topic, rate }) => make("tr", {},
      make("td", {}, topic.full_name),
      make("td", { className: "number", textContent: number(topic.partitions.length) }),
      make("td", { className: "number", textContent: number(topic.records) }),
      make("td", { className: "number", textContent: number(rate) }),
      make("td", { textContent: kept(topic) }))));
    if ($("topic").options.length !== topics.length) {
      $("topic").replaceChildren(...topics.map(topic => make("option", { value: topic.name, textContent: topic.name })));
    }
    if (before) {
      remember(times, now / 1000);
      for (const { topic, rate } of found) {
        if (!series.has(topic.name)) series.set(topic.name, []);
        remember(series.get(topic.name), rate);
      }
      draw();
    }
    before = { at: now, ends: new Map(topics.map(topic => [topic.name, end(topic)])) };
  }
  function draw() {
    const data = [times, ...series.values()];
    const place = $("chart");
    if (!chart) {
      const ink = getComputedStyle(document.body).color;
      const axis = { stroke: ink, grid: { stroke: "rgba(128,128,128,.2)" }, ticks: { stroke: "rgba(128,128,128,.4)" } };
      const lines = [...series.keys()].map((label, at) => ({ label, stroke: COLOURS[at % COLOURS.length], width: 2, points: { show: false } }));
      chart = new uPlot({ width: place.clientWidth, height: 200, series: [{}, ...lines], axes: [axis, axis],
        scales: { y: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] } } }, data, place);
      new ResizeObserver(() => chart.setSize({ width: place.clientWidth, height: 200 })).observe(place);
    } else {
      chart.setData(data);
    }
  }

  // --- the log ---
  let next = null, following = false;
  const shownRecord = event => {
    const time = make("time", { dateTime: event.time ?? "", textContent: event.time ?? "" });
    const position = Object.entries(event).find(([name]) => name.endsWith("position"))?.[1] ?? "";
    const summary = make("summary", {}, time, make("span", { className: "type", textContent: event.type }),
      make("span", { className: "quiet number", textContent: position }), make("span", { className: "quiet", textContent: event.partitionkey ?? "" }));
    return make("li", {}, make("details", {}, summary, make("pre", { textContent: JSON.stringify(event, null, 2), tabIndex: 0 })));
  };
  function wanted() {
    const query = new URLSearchParams({ limit: "20" });
    for (const name of ["key", "partition", "from"]) if ($(name).value.trim()) query.set(name, $(name).value.trim());
    if ($("since").value) query.set("since", new Date($("since").value).toISOString());
    return query;
  }
  async function showRecords(more = false) {
    const topic = $("topic").value;
    if (!topic) return;
    const query = wanted();
    if (more && next) query.set("cursor", next);
    try {
      const page = await ask(`/v1/admin/topics/${encodeURIComponent(topic)}/records?${query}`);
      const items = page.items.map(shownRecord);
      next = page.next_cursor;
      $("more").hidden = !next || following;
      if (more) return $("records").append(...items);
      if ($("records").querySelector("[open]") && following) return;
      $("records").replaceChildren(...(items.length ? items : [make("li", { className: "empty", textContent: T.nothingFound })]));
    } catch (error) { complain(error); }
  }
  $("look").onsubmit = event => { event.preventDefault(); complain(null); showRecords(); };
  $("more").onclick = () => showRecords(true);
  $("follow").onclick = () => {
    following = !following;
    $("follow").setAttribute("aria-pressed", String(following));
    if (following) for (const name of ["key", "from", "since"]) $(name).value = "";
    showRecords();
  };

  // --- what was set aside ---
  let parkedShown = "";
  function showParked(items) {
    const now = JSON.stringify(items);
    if (now === parkedShown) return;
    parkedShown = now;
    if (!items.length) return $("parked-list").replaceChildren(make("p", { className: "empty", textContent: T.nothingParked }));
    const head = ["step", "position", "key", "error", "at", "actions"].map(name => make("th", { scope: "col", textContent: T[name] }));
    const rows = items.map(item => {
      const path = `/v1/admin/parked/${item.id}`;
      const show = make("button", { type: "button", textContent: T.show, onclick: async () => {
        try {
          const detail = await ask(path);
          $("shown-title").textContent = `${item.topic}/${item.partition} ${item.offset}`;
          $("shown-text").textContent = JSON.stringify(detail, null, 2);
          $("shown").showModal();
        } catch (error) { complain(error); }
      } });
      const button = (text, name, question) => make("button", { type: "button", textContent: text,
        onclick: () => act(question(), text, `${path}/${name}`, done => complain(done.refused.length ? { message: T.done(done) } : null)) });
      return make("tr", {}, make("td", { textContent: item.projection }),
        make("td", { className: "number", textContent: `${item.topic}/${item.partition} ${item.offset}` }),
        make("td", { textContent: item.key }), make("td", { textContent: item.waits ? `${item.error} (${T.waits})` : item.error }),
        make("td", {}, make("time", { dateTime: item.parked_at, textContent: item.parked_at })),
        make("td", {}, make("div", { className: "actions" }, show, button(T.retry, "retry", T.askRetry), button(T.discard, "discard", T.askDiscard))));
    });
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
    const scroll = make("div", { className: "scroll", tabIndex: 0 }, table);
    $("parked-list").replaceChildren(scroll);
  }

  // --- going round ---
  async function look() {
    const [steps, topics, parked] = await Promise.all([ask("/v1/admin/steps"), ask("/v1/admin/topics"), ask("/v1/admin/parked?limit=100")]);
    showSteps(steps.projections);
    showTopics(topics.items, Date.now());
    showParked(parked.items);
    if (following) await showRecords();
  }
  let round = 0, isAway = false;
  async function goRound() {
    const mine = ++round;
    while (mine === round) {
      try {
        if (!document.hidden) await look();
        if (isAway) complain(null);
        isAway = false;
      } catch (error) {
        if (error.status === 401 || error.status === 403) return signOut(T.notAdmin);
        isAway = true;
        complain(error);
        $("state").className = "badge bad";
        $("state").textContent = T.away;
      }
      await new Promise(resolve => setTimeout(resolve, LOOK_EVERY));
    }
  }
  function signOut(why) {
    round++;
    token = null;
    sessionStorage.removeItem("token");
    $("room").hidden = $("sign-out").hidden = true;
    $("sign-in").hidden = false;
    $("state").textContent = "";
    $("sign-in-problem").textContent = why ?? "";
    $("sign-in-problem").hidden = !why;
  }
  async function enter() {
    try { await ask("/v1/admin/steps"); } catch (error) {
      return signOut(error.status === 401 || error.status === 403 ? T.notAdmin : error.message);
    }
    sessionStorage.setItem("token", token);
    $("sign-in").hidden = true;
    $("room").hidden = $("sign-out").hidden = false;
    goRound().catch(complain);
    setTimeout(showRecords, 300);
  }
  $("sign-in").onsubmit = event => {
    event.preventDefault();
    token = $("token").value.trim();
    $("token").value = "";
    enter();
  };
  $("sign-out").onclick = () => signOut();
  if (token) enter(); else signOut();
})();
