"use strict";
(() => {
  const TEXTS = {
    en: {
      skip: "To the content", room: "Control room", steps: "Steps", events: "Events", log: "Log", parked: "Set aside",
      consumers: "Positions", time: "Time", counts: "Counts", stepsOverTime: "The last hour", courses: "State and generation", soon: "The first figures come in a moment.",
      turn: (state, generation, time) => `${state}${generation == null ? "" : `, generation ${generation}`}, since ${time}`, unknown: "not known", shown: "Shown",
      consumersTitle: "Who reads the log, and where they stand", countsTitle: "What happens", end: "Log's end",
      behind: "Behind", worker: "Process", seen: "Seen", busy: "Busy", ago: n => `${n} s ago`, behindBy: n => `${n} behind`, gone: "gone",
      by: "By", window: "Window", drawn: "Drawn", value: "Value", running: "Now", last: "Before", nothingCounted: "Nothing was counted yet.",
      ranking: "Most frequent in the last 30 minutes", nothingRanked: "Nothing in the last 30 minutes.", count: "count", sum: "sum",
      average: "average", least: "least", most: "most", nobody: "No process works on it.",
      signIn: "Sign in", signOut: "Sign out", token: "Token",
      signInWhy: "Paste a token with the role admin. It is kept for this tab alone.",
      name: "Name", stateOf: "State", generation: "Generation", lag: "Lag, events", seconds: "Lag, s", rate: "Events/s",
      overTime: "Rate over time", actions: "Actions", eventsTitle: "Events appended a second", topics: "Topics", topic: "Topic",
      partitions: "Partitions", partition: "Partition", records: "Records", kept: "Kept", forever: "for ever",
      logTitle: "A look into the log", key: "Key", from: "From offset", since: "Since", look: "Look", follow: "Follow", more: "More",
      parkedTitle: "Records that were set aside", nothingParked: "Nothing is set aside.", nothingFound: "No record was found.",
      notShown: "Other records came in between: look from an offset or a time.", moreParked: "Show more",
      rebuild: "Rebuild", rollback: "Roll back", cancel: "Cancel the rebuild", no: "Leave it", close: "Close", show: "Show",
      retry: "Retry", discard: "Discard", error: "Error", position: "Position", at: "Set aside at", step: "Step",
      well: "all is well", ill: n => `${n} ill`, away: "no answer", days: n => `${n} ${n === "1" ? "day" : "days"}`,
      askRebuild: n => [`Rebuild ${n}?`, "A new generation is built from the log beside the live one. Readers notice nothing until it is switched to."],
      askRollback: n => [`Roll ${n} back?`, "The generation before becomes live again, and catches up with the log by itself."],
      askCancel: n => [`Give up the rebuild of ${n}?`, "What was built so far is removed. The live generation stays."],
      askRetry: () => ["Retry this record?", "It is applied or delivered after all, with what waits behind it."],
      askDiscard: () => ["Discard this record?", "It is never applied or delivered. What waited behind it is."],
      done: o => `${o.applied} applied, ${o.discarded} discarded, ${o.refused.length} failed again`,
      notAdmin: "This token is not accepted here, or its role is not admin.", waits: "waits behind an earlier one",
      noToken: "This is no token: it has characters that none has.",
    },
    ja: {
      skip: "本文へ", room: "管制室", steps: "ステップ", events: "イベント", log: "ログ", parked: "保留",
      consumers: "読み取り位置", time: "時刻", counts: "集計", stepsOverTime: "直近 1 時間の推移", courses: "状態と世代", soon: "最初の値をまもなく表示します。",
      turn: (state, generation, time) => `${state}${generation == null ? "" : `、世代 ${generation}`}、${time} から`, unknown: "不明", shown: "表示",
      consumersTitle: "ログの読み手とその位置", countsTitle: "起きていること", end: "ログの終端",
      behind: "遅れ", worker: "プロセス", seen: "最終確認", busy: "稼働率", ago: n => `${n} 秒前`, behindBy: n => `遅れ ${n} 件`, gone: "停止",
      by: "分類", window: "単位", drawn: "内容", value: "値", running: "現在", last: "一つ前", nothingCounted: "まだ何も集計されていません。",
      ranking: "直近 30 分の上位", nothingRanked: "直近 30 分にはありません。", count: "件数", sum: "合計",
      average: "平均", least: "最小", most: "最大", nobody: "作業中のプロセスはありません。",
      signIn: "サインイン", signOut: "サインアウト", token: "トークン",
      signInWhy: "admin 権限のトークンを貼り付けてください。このタブだけに保存されます。",
      name: "名前", stateOf: "状態", generation: "世代", lag: "遅れ（件）", seconds: "遅れ（秒）", rate: "件／秒",
      overTime: "速度の推移", actions: "操作", eventsTitle: "毎秒の追加イベント数", topics: "トピック", topic: "トピック",
      partitions: "パーティション", partition: "パーティション", records: "レコード", kept: "保存期間", forever: "無期限",
      logTitle: "ログを見る", key: "キー", from: "開始オフセット", since: "開始時刻", look: "表示", follow: "追跡", more: "さらに表示",
      parkedTitle: "保留されたレコード", nothingParked: "保留されたレコードはありません。", nothingFound: "レコードが見つかりません。",
      notShown: "この間に他のレコードがあります。オフセットまたは時刻を指定して表示してください。", moreParked: "さらに表示",
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
      noToken: "トークンではありません。使えない文字が含まれています。",
    },
  };
  const language = navigator.languages.map(name => name.slice(0, 2)).find(name => name in TEXTS) ?? "en";
  const T = TEXTS[language];
  const LOOK_EVERY = 2000, LOOK_AT_LEAST_EVERY = 30000, HISTORY = 1800, SPARKS = 150, HOUR = 3_600_000;
  // How many figures a line in a table is wide at least.
  const SPARK = 15;
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
  function remember(history, value, most = HISTORY) {
    history.push(value);
    if (history.length > most) history.shift();
  }
  function spark(history) {
    const SVG = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "spark");
    svg.setAttribute("viewBox", "0 0 100 20");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const most = Math.max(1, ...history), wide = Math.max(SPARK, history.length - 1);
    const line = document.createElementNS(SVG, "polyline");
    line.setAttribute("points", history.map((value, at) => `${(100 * at) / wide},${19 - (18 * value) / most}`).join(" "));
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
    if (step.kind !== "projection" && step.kind !== "replica") return [];
    if (step.rebuild) return [button(T.cancel, "cancel", T.askCancel)];
    return [button(T.rebuild, "rebuild", T.askRebuild), button(T.rollback, "rollback", T.askRollback)];
  }
  function showSteps(steps) {
    const rows = [];
    for (const step of steps) {
      if (!rates.has(step.name)) rates.set(step.name, []);
      const history = rates.get(step.name);
      remember(history, step.events_per_second, SPARKS);
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

  // --- figures of the last hour: as the service has seen them until the page was opened, and the page since ---
  class Trend {
    constructor(place, empty) {
      this.place = place;
      this.empty = empty;
      this.times = [];
      this.lines = new Map();
      new ResizeObserver(() => this.chart?.setSize(this.size())).observe(place);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.chart && this.draw(true));
    }
    size() { return { width: Math.max(200, this.place.clientWidth), height: 200 }; }
    /** Notes what `figures` says at a time: a number for each name. */
    note(at, figures) {
      remember(this.times, at / 1000);
      for (const name of Object.keys(figures)) {
        if (!this.lines.has(name)) this.lines.set(name, Array(this.times.length - 1).fill(null));
      }
      for (const [name, line] of this.lines) remember(line, figures[name] ?? null);
    }
    clear() {
      this.chart?.destroy();
      this.chart = null;
    }
    draw(anew = false) {
      // From one time to another: one alone has no line and no axis.
      const isEmpty = this.times.length < 2;
      this.empty.hidden = !isEmpty;
      this.place.hidden = isEmpty;
      if (isEmpty) return;
      const data = [this.times, ...this.lines.values()];
      if (this.chart && !anew && this.drawn === this.lines.size) {
        this.chart.setData(data);
        return this.tell();
      }
      this.chart?.destroy();
      this.drawn = this.lines.size;
      const lines = [...this.lines.keys()].map((label, at) => ({ label, stroke: linePlot.colour(at), width: 2, points: { show: false } }));
      const value = (_, figure) => figure == null ? "–" : number(figure);
      const time = (_, second) => second == null ? "–" : new Date(second * 1000).toLocaleTimeString(language, { hourCycle: "h23" });
      this.chart = new uPlot({ ...this.size(), series: [{ label: T.time, value: time }, ...lines.map(line => ({ ...line, value }))], axes: linePlot.axes(language),
        scales: { y: { range: (_, __, most) => [0, Math.max(1, (most ?? 0) * 1.1)] } } }, data, this.place);
      this.tell();
    }
    /** The newest figures, while nobody points at others. */
    tell() {
      if (this.chart.cursor.idx == null) this.chart.setLegend({ idx: this.times.length - 1 });
    }
  }
  const FIGURES = { lag: step => step.lag.events, seconds: step => step.lag.seconds, rate: step => step.events_per_second };
  const trends = new Map();
  let shownTrend = null;
  function noteSteps(steps, now) {
    for (const [name, figure] of Object.entries(FIGURES)) {
      if (!trends.has(name)) trends.set(name, new Trend($("steps-chart"), $("steps-empty")));
      trends.get(name).note(now, Object.fromEntries(steps.map(step => [step.name, figure(step)])));
    }
    for (const step of steps) noteCourse(step.name, now, step.state, step.generation);
  }
  // Which state and which generation each step had, from when on.
  const courses = new Map();
  const MOST_TURNS = 200;
  function noteCourse(name, at, state, generation) {
    if (!courses.has(name)) courses.set(name, []);
    const course = courses.get(name), last = course.at(-1);
    if (!last || last.state !== state || last.generation !== generation) remember(course, { at, state, generation }, MOST_TURNS);
    while (course.length > 1 && course[1].at <= at - HOUR) course.shift();
  }
  const clock = at => new Date(at).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  function drawnCourse(course, from, until) {
    const SVG = "http://www.w3.org/2000/svg";
    const shape = (tag, attributes, title) => {
      const element = document.createElementNS(SVG, tag);
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
      if (title) element.append(Object.assign(document.createElementNS(SVG, "title"), { textContent: title }));
      return element;
    };
    const x = at => 1000 * Math.max(0, at - from) / Math.max(1, until - from);
    const said = ({ state, generation, at }) => T.turn(state ?? T.unknown, generation, clock(Math.max(at, from)));
    const svg = shape("svg", { class: "course", viewBox: "0 0 1000 10", preserveAspectRatio: "none", role: "img",
      "aria-label": course.slice(-5).map(said).join("; ") });
    course.forEach((turn, at) => {
      const end = course[at + 1]?.at ?? until;
      if (end < from) return;
      const tone = turn.state == null ? "none" : TONES[turn.state] ?? "bad";
      svg.append(shape("rect", { class: tone, x: x(turn.at), width: Math.max(0, x(end) - x(turn.at)), height: 10 }, said(turn)));
      if (at && course[at - 1].generation !== turn.generation) svg.append(shape("line", { class: "turn", x1: x(turn.at), x2: x(turn.at), y1: 0, y2: 10 }));
    });
    return svg;
  }
  function showCourses() {
    const { times } = trends.get("lag") ?? { times: [] };
    if (times.length < 2) return;
    const until = times.at(-1) * 1000, from = Math.max(times[0] * 1000, until - HOUR);
    $("courses-time").textContent = `${clock(from)} – ${clock(until)}`;
    $("courses").replaceChildren(...[...courses].map(([name, course]) => {
      const item = make("li", {}, make("span", { textContent: name }), drawnCourse(course, from, until),
        make("span", { className: "number", textContent: course.at(-1).generation ?? "–" }));
      item.dataset.step = name;
      return item;
    }));
  }
  let isSeeded = false;
  /** What was before the page was opened. */
  async function seed() {
    if (isSeeded) return;
    const { times, steps } = await ask("/v1/admin/steps/history");
    isSeeded = true;
    times.forEach((time, at) => noteSteps(steps.map(step => ({ name: step.name, state: step.state[at], generation: step.generation[at],
      lag: { events: step.lag_events[at], seconds: step.lag_seconds[at] }, events_per_second: step.events_per_second[at] })), Date.parse(time)));
    for (const step of steps) rates.set(step.name, step.events_per_second.slice(-SPARKS).map(rate => rate ?? 0));
    showOverTime();
  }
  function showOverTime() {
    showTrend();
    showCourses();
  }
  function showTrend() {
    const trend = trends.get($("figure").value);
    if (!trend) return;
    const isOther = shownTrend !== trend;
    if (isOther) shownTrend?.clear();
    shownTrend = trend;
    trend.draw(isOther);
  }
  $("figure").onchange = showTrend;

  // --- the topics, and how many records they get a second ---
  let before = null, topicsTrend = null;
  function showTopics(topics, now) {
    const seconds = before ? (now - before.at) / 1000 : 0;
    // Not known while they are being counted. Fewer than before: some were removed because their time was over.
    const rate = topic => topic.records == null || before?.records.get(topic.name) == null ? null
      : Math.max(0, topic.records - before.records.get(topic.name)) / seconds;
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
      topicsTrend ??= new Trend($("chart"), $("chart-empty"));
      topicsTrend.note(now, Object.fromEntries(found.map(({ topic, rate }) => [topic.name, rate])));
      topicsTrend.draw();
    }
    before = { at: now, records: new Map(topics.map(topic => [topic.name, topic.records])) };
  }
  // --- who reads the log, and where they stand ---
  const standings = new Map();
  function standing(step) {
    if (!standings.has(step.name)) {
      const [name, state, behind] = [make("span", { className: "name", textContent: step.name }), make("span"), make("span", { className: "number" })];
      const table = (...head) => {
        const body = make("tbody");
        const row = make("tr", {}, ...head.map(([text, kind]) => make("th", { scope: "col", className: kind ?? "", textContent: T[text] })));
        const scroll = make("div", { className: "scroll", tabIndex: 0 }, make("table", {}, make("thead", {}, row), body));
        scroll.setAttribute("role", "group");
        scroll.setAttribute("aria-label", step.name);
        return { scroll, body };
      };
      const workers = table(["worker"], ["stateOf"], ["rate", "number"], ["busy", "number"], ["seen", "number"]);
      const places = table(["topic"], ["partition", "number"], ["position", "number"], ["end", "number"], ["behind", "number"]);
      const place = make("details", {}, make("summary", {}, name, state, behind), workers.scroll, places.scroll);
      place.dataset.step = step.name;
      standings.set(step.name, { place, state, behind, workers: workers.body, places: places.body });
      $("standing").append(place);
    }
    return standings.get(step.name);
  }
  function showStandings(steps, topics) {
    const cells = (...values) => values.map(([text, kind]) => make("td", { className: kind ?? "", textContent: text }));
    for (const step of steps) {
      const { place, state, behind, workers, places } = standing(step);
      state.className = `badge ${step.ill ? "bad" : TONES[step.state] ?? "bad"}`;
      state.textContent = step.state;
      behind.textContent = T.behindBy(number(step.lag.events));
      if (!place.open) continue;
      const alive = step.workers.map(worker => make("tr", {}, ...cells([worker.id], [worker.is_alive ? worker.state ?? "?" : T.gone],
        [number(worker.events_per_second), "number"], [worker.busy == null ? "?" : `${Math.round(100 * worker.busy)} %`, "number"],
        [T.ago(worker.seen_seconds_ago), "number"])));
      workers.replaceChildren(...(alive.length ? alive : [make("tr", {}, make("td", { colSpan: 5, textContent: T.nobody }))]));
      const rows = [];
      for (const [topic, partitions] of Object.entries(step.positions)) {
        const known = topics.find(one => one.full_name === topic || one.name === topic);
        for (const [partition, offset] of Object.entries(partitions)) {
          const end = known?.partitions.find(one => one.partition === Number(partition))?.end;
          rows.push(make("tr", {}, ...cells([topic], [partition, "number"], [number(offset), "number"], [number(end), "number"],
            [number(end == null ? null : Math.max(0, end - offset)), "number"])));
        }
      }
      places.replaceChildren(...rows);
    }
  }
  $("standing").addEventListener("toggle", () => look().catch(complain), true);

  // --- what is counted ---
  let panels = null, rankedAt = 0;
  const RANKED_EVERY = 10_000;
  class Panel {
    constructor(stream) {
      this.stream = stream;
      const id = `stream-${stream.name}`;
      const title = make("h3", { id, textContent: stream.name });
      const row = make("div", { className: "row" });
      const choice = (name, options, chosen) => {
        const select = make("select", { id: `${id}-${name}` }, ...options.map(option =>
          make("option", { value: option, textContent: name === "drawn" ? T[option] : option, selected: option === chosen })));
        row.append(make("div", {}, make("label", { htmlFor: select.id, textContent: T[name] }), select));
        select.onchange = () => this.look(true).catch(complain);
        return select;
      };
      this.dimension = choice("by", stream.dimensions);
      this.window = choice("window", stream.windows, stream.windows.includes("1m") ? "1m" : stream.windows[0]);
      if (stream.is_measured) this.drawn = choice("drawn", ["count", "sum", "average", "least", "most"]);
      const place = make("div", { className: "plot" });
      place.setAttribute("role", "img");
      place.setAttribute("aria-labelledby", id);
      const head = ["value", "running", "last"].map(name => make("th", { scope: "col", className: name === "value" ? "" : "number", textContent: T[name] }));
      const rows = make("tbody");
      const scroll = make("div", { className: "scroll", tabIndex: 0 }, make("table", {}, make("thead", {}, make("tr", {}, ...head)), rows));
      scroll.setAttribute("role", "group");
      scroll.setAttribute("aria-labelledby", id);
      this.empty = make("p", { className: "empty", textContent: T.nothingCounted, hidden: true });
      this.parts = [place, scroll];
      this.ranking = make("ol", { className: "ranking" });
      this.element = make("article", { className: "sheet chart" }, title, row, place, scroll, this.empty, make("h4", { textContent: T.ranking }), this.ranking);
      this.element.dataset.stream = stream.name;
      this.element.setAttribute("aria-labelledby", id);
      this.plot = new linePlot.Plot({ place, rows, language, texts: T });
    }
    async look(withRanking) {
      const path = `/v1/stats/${encodeURIComponent(this.stream.name)}`;
      const query = new URLSearchParams({ dimension: this.dimension.value });
      const asked = [ask(`${path}/chart?${new URLSearchParams([...query, ["window", this.window.value], ["drawn", this.drawn?.value ?? "count"]])}`)];
      if (withRanking) asked.push(ask(`${path}/top?${new URLSearchParams([...query, ["limit", "5"]])}`));
      const [drawing, top] = await Promise.all(asked);
      if (query.get("dimension") !== this.dimension.value) return;
      const hasNone = !drawing.lines.length;
      this.empty.hidden = !hasNone;
      for (const part of this.parts) part.hidden = hasNone;
      this.plot.show(drawing);
      if (!top) return;
      const items = top.items.map(item => make("li", {}, make("span", {}, make("span", { textContent: item.label ?? item.value, title: item.label ? item.value : "" }), make("span", { className: "number", textContent: number(item.count) }))));
      this.ranking.replaceChildren(...(items.length ? items : [make("li", { className: "quiet none", textContent: T.nothingRanked })]));
    }
  }
  /** While the counts are not there, everything else is. */
  function complainOfCounts(error) {
    const text = error ? error.message : "";
    if ($("counts-problem").textContent !== text) $("counts-problem").textContent = text;
    $("counts-problem").hidden = !error;
    if (error) $("counts").hidden = $("to-counts").hidden = false;
  }
  /** Not every service of a program has the counts. */
  async function showCounts() {
    if (!panels) {
      const streams = await ask("/v1/stats").catch(error => { if (error.status === 404) return { items: [] }; throw error; });
      panels = streams.items.map(stream => new Panel(stream));
      $("streams").replaceChildren(...panels.map(panel => panel.element));
      $("counts").hidden = $("to-counts").hidden = !panels.length;
    }
    const withRanking = Date.now() - rankedAt >= RANKED_EVERY;
    if (withRanking) rankedAt = Date.now();
    await Promise.all(panels.map(panel => panel.look(withRanking)));
  }

  // --- the log ---
  let next = null, following = false;
  // How many records are asked for, and how many stay on the page, while the log is followed.
  const FOLLOWED_AT_ONCE = 100, MOST_FOLLOWED = 500;
  const positionOf = event => Object.entries(event).find(([name]) => name.endsWith("position"))?.[1] ?? "";
  const shownRecord = event => {
    const time = make("time", { dateTime: event.time ?? "", textContent: event.time ?? "" });
    const position = positionOf(event);
    const summary = make("summary", {}, time, make("span", { className: "type", textContent: event.type }),
      make("span", { className: "quiet number", textContent: position }), make("span", { className: "quiet", textContent: event.partitionkey ?? "" }));
    const record = make("li", {}, make("details", {}, summary, make("pre", { textContent: JSON.stringify(event, null, 2), tabIndex: 0 })));
    record.dataset.position = position;
    return record;
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
      $("more").hidden = !next;
      if (more) return $("records").append(...items);
      $("records").replaceChildren(...(items.length ? items : [make("li", { className: "empty", textContent: T.nothingFound })]));
    } catch (error) { complain(error); }
  }
  /** Puts what came since above what is there, which stays as it is: opened, or with the focus in it. */
  async function followRecords() {
    const topic = $("topic").value;
    if (!topic) return;
    const query = wanted();
    query.set("limit", FOLLOWED_AT_ONCE);
    const page = await ask(`/v1/admin/topics/${encodeURIComponent(topic)}/records?${query}`);
    if (!following || topic !== $("topic").value) return;
    const list = $("records");
    const shown = new Set([...list.children].map(record => record.dataset.position));
    const added = page.items.filter(event => !shown.has(positionOf(event)));
    if (!added.length) return;
    const wasEmpty = !list.querySelector("[data-position]");
    // None of them is known: what came between is not among them.
    const hasGap = !wasEmpty && added.length === page.items.length && page.next_cursor;
    const items = added.map(shownRecord);
    if (hasGap) items.push(make("li", { className: "empty", textContent: T.notShown }));
    if (wasEmpty) list.replaceChildren(...items); else list.prepend(...items);
    while (list.children.length > MOST_FOLLOWED && !list.lastChild.contains(document.activeElement)) list.lastChild.remove();
  }
  function follow(follows) {
    following = follows;
    $("follow").setAttribute("aria-pressed", String(following));
  }
  $("look").onsubmit = event => { event.preventDefault(); complain(null); follow(false); showRecords(); };
  $("more").onclick = () => showRecords(true);
  $("topic").onchange = () => { if (following) $("records").replaceChildren(); };
  $("follow").onclick = () => {
    follow(!following);
    if (!following) return;
    for (const name of ["key", "from", "since"]) $(name).value = "";
    $("more").hidden = true;
    $("records").replaceChildren();
    followRecords().catch(complain);
  };

  // --- what was set aside ---
  let parkedShown = "", parkedPages = 1;
  /** As many pages of what was set aside as were asked for, and whether there are more. */
  async function askParked() {
    const items = [];
    let cursor = null;
    // One more may be asked for meanwhile.
    for (let page = 0; page < parkedPages; page++) {
      const found = await ask(`/v1/admin/parked?limit=100${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
      items.push(...found.items);
      cursor = found.next_cursor;
      if (!cursor) break;
    }
    return { items, hasMore: cursor != null };
  }
  function showParked({ items, hasMore }) {
    const now = JSON.stringify([items, hasMore]);
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
    const more = make("button", { type: "button", id: "more-parked", textContent: T.moreParked, onclick: async () => {
      parkedPages++;
      try { showParked(await askParked()); } catch (error) { complain(error); }
    } });
    const hadFocus = document.activeElement?.id === more.id;
    $("parked-list").replaceChildren(scroll, ...(hasMore ? [more] : []));
    if (hadFocus) (hasMore ? more : scroll).focus();
  }

  // --- going round ---
  async function look() {
    await seed();
    const [steps, topics, parked] = await Promise.all([ask("/v1/admin/steps"), ask("/v1/admin/topics"), askParked()]);
    showSteps(steps.projections);
    noteSteps(steps.projections, Date.now());
    showOverTime();
    showStandings(steps.projections, topics.items);
    showTopics(topics.items, Date.now());
    showParked(parked);
    await showCounts().then(() => complainOfCounts(null), error => {
      if (isRefusal(error)) throw error;
      complainOfCounts(error);
    });
    if (following) await followRecords();
  }
  let round = 0, isAway = false;
  async function goRound() {
    const mine = ++round;
    let pause = LOOK_EVERY;
    while (mine === round) {
      try {
        if (!document.hidden) await look();
        if (isAway) complain(null);
        isAway = false;
        pause = LOOK_EVERY;
      } catch (error) {
        if (isRefusal(error)) return signOut(T.notAdmin);
        if (mine !== round) return;
        isAway = true;
        pause = Math.min(2 * pause, LOOK_AT_LEAST_EVERY);
        complain(error);
        $("state").className = "badge bad";
        $("state").textContent = T.away;
      }
      await new Promise(resolve => setTimeout(resolve, pause));
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
  const isRefusal = ({ status }) => status === 401 || status === 403;
  async function enter() {
    // A header takes no other characters.
    if (!/^[\x21-\x7e]+$/.test(token)) return signOut(T.noToken);
    // Where there is no answer the room is entered all the same, and asks again.
    try { await ask("/v1/admin/steps"); } catch (error) { if (isRefusal(error)) return signOut(T.notAdmin); }
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
