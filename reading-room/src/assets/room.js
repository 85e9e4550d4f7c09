"use strict";
(() => {
  const TEXTS = {
    en: {
      signIn: "Sign in", signOut: "Sign out", token: "Token", why: "Paste a token. It is kept for this tab alone.", cancel: "Cancel",
      wrong: "This token is not accepted.", favorite: "Make a favourite", unfavorite: "No favourite any more", remove: "Delete",
      removeWhy: "Delete this comment? It cannot be brought back.", sending: "being posted …",
      posted: "posted; it is shown here once the service has caught up", on: "on",
      away: "The connection is away; trying again …", failed: "It could not be sent; what you wrote is still here.",
      noToken: "This is no token: it has characters that none has.", over: "The token of this tab is not accepted any more.",
      noAnswer: "No answer about who is signed in; trying again …",
      length: (n, most) => n > most ? `${n} of ${most} characters: ${n - most} too many` : `${n} of ${most} characters`,
      counts: (comments, views) => `${comments} ${comments === 1 ? "comment" : "comments"} · ${views} ${views === 1 ? "view" : "views"}`,
    },
    ja: {
      signIn: "サインイン", signOut: "サインアウト", token: "トークン", why: "トークンを貼り付けてください。このタブだけに保存されます。", cancel: "やめる",
      wrong: "このトークンは受け付けられません。", favorite: "お気に入りに追加", unfavorite: "お気に入りを解除", remove: "削除",
      removeWhy: "このコメントを削除しますか？元に戻せません。", sending: "投稿中…",
      posted: "投稿しました。まもなく表示されます。", on: "→",
      away: "接続が切れました。再接続しています…", failed: "送信できませんでした。入力した内容は残っています。",
      noToken: "トークンではありません。使えない文字が含まれています。", over: "このタブのトークンは受け付けられなくなりました。",
      noAnswer: "サインイン状態を確認できません。再試行しています…",
      length: (n, most) => n > most ? `${most} 文字中 ${n} 文字：${n - most} 文字超過` : `${most} 文字中 ${n} 文字`,
      counts: (comments, views) => `${comments} 件のコメント · ${views} 回の閲覧`,
    },
  };
  const language = document.documentElement.lang;
  const T = TEXTS[language] ?? TEXTS.en;
  const commands = document.documentElement.dataset.commands;
  const main = document.getElementById("main");
  const $ = id => document.getElementById(id);
  const make = (tag, props = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), props);
    element.append(...children);
    return element;
  };
  const kept = {
    get token() { return sessionStorage.getItem("token"); },
    set token(value) { value ? sessionStorage.setItem("token", value) : sessionStorage.removeItem("token"); },
    get seen() { return sessionStorage.getItem("seen"); },
    set seen(value) { value ? sessionStorage.setItem("seen", value) : sessionStorage.removeItem("seen"); },
  };
  // What was written and not posted yet, by movie. It outlives the page, but not the tab.
  const drafts = {
    read(movie) { try { return JSON.parse(sessionStorage.getItem(`draft ${movie}`)) ?? {}; } catch { return {}; } },
    keep(movie, { title, body }) {
      try {
        if (title || body) sessionStorage.setItem(`draft ${movie}`, JSON.stringify({ title, body })); else sessionStorage.removeItem(`draft ${movie}`);
      } catch { /* there is no room: it is in the form */ }
    },
  };
  // How many comments a page grows to.
  const MOST_SHOWN = 500;
  const ME = "/v1/me";
  let me = null;

  // --- asking ---
  function headers(more = {}) {
    const all = { ...more };
    if (kept.token) all.Authorization = `Bearer ${kept.token}`;
    if (kept.seen) all["Consistency-Token"] = kept.seen;
    return all;
  }
  class Refused extends Error {
    constructor(status, problem) {
      const errors = (problem.errors ?? []).map(error => error.detail).join("; ");
      super(errors || problem.detail || problem.title || String(status));
      this.status = status;
      this.pointers = (problem.errors ?? []).map(error => error.pointer);
    }
  }
  // A header takes no other characters, so what has some cannot even be asked with.
  const isToken = text => /^[\x21-\x7e]+$/.test(text);
  // As a problem document says it, and as a page does.
  const isOfSeen = text => /"header":"Consistency-Token"|data-header="Consistency-Token"/.test(text);
  const isReading = ({ method = "GET" }) => method === "GET";
  // Unlike randomUUID this is there over plain HTTP, too.
  const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, "0")).join("");
  /** Asks, and once more without what was kept and is refused. A token that is over signs out. */
  async function send(path, options = {}) {
    for (;;) {
      const { token, seen } = kept;
      const answer = await fetch(path, { ...options, headers: headers(options.headers), cache: "no-store" });
      if (answer.status === 401 && token && path !== ME) {
        if (kept.token === token) signedOut();
        // Others may go on reading.
        if (isReading(options)) continue;
      } else if (answer.status === 422 && seen && isOfSeen(await answer.clone().text())) {
        // Of another installation that was here: it means nothing in this one.
        if (kept.seen === seen) kept.seen = null;
        continue;
      }
      return answer;
    }
  }
  async function ask(path, options = {}) {
    const answer = await send(path, options);
    if (!answer.ok) throw new Refused(answer.status, await answer.json().catch(() => ({})));
    return answer;
  }
  async function command(method, path, body, key) {
    const more = {};
    if (body) more["Content-Type"] = "application/json";
    if (key) more["Idempotency-Key"] = key;
    const answer = await ask(commands + path, { method, headers: more, body: body && JSON.stringify(body) });
    kept.seen = answer.headers.get("Consistency-Token") ?? kept.seen;
    return answer.status === 204 ? null : answer.json().catch(() => null);
  }

  // --- times in the reader's zone ---
  const day = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
  function showTimes(part) {
    for (const time of part.querySelectorAll("time[datetime*=T]")) {
      const at = new Date(time.dateTime);
      if (!Number.isNaN(at.valueOf())) time.textContent = day.format(at);
    }
  }

  // --- comments ---
  function card(comment, showsMovie) {
    const header = make("header", {}, make("strong", {}, make("a", { href: `/people/${comment.author.id}`, textContent: comment.author.display_name })));
    if (showsMovie) {
      header.append(make("span", { className: "quiet", textContent: ` ${T.on} ` }),
        make("a", { href: `/movies/${comment.movie.id}`, textContent: comment.movie.title }));
    }
    const time = make("time", { dateTime: comment.posted_at, textContent: comment.posted_at });
    header.append(" ", make("span", { className: "quiet small" }, time));
    const article = make("article", { className: "comment new", id: `c-${comment.id}` }, header);
    article.dataset.id = comment.id;
    article.dataset.author = comment.author.id;
    if (comment.title) article.append(make("h2", { className: "headline", textContent: comment.title }));
    article.append(make("p", { className: "body", textContent: comment.body }));
    showTimes(article);
    showDelete(article);
    return article;
  }
  // The newest first. What is older than all of a page that has another after it belongs to that one.
  function put(list, article) {
    list.querySelector(":scope > .empty")?.remove();
    const older = [...list.querySelectorAll(":scope > article:not(.pending)")].find(other => isNewer(article, other));
    if (older) older.before(article); else if (!list.querySelector(":scope [rel=next]")) list.append(article);
    const all = list.querySelectorAll(":scope > article:not(.pending)");
    if (all.length > MOST_SHOWN) all[all.length - 1].remove();
  }
  function isNewer(article, other) {
    const key = one => one.querySelector("time").dateTime + one.dataset.id;
    return key(article) > key(other);
  }
  function showDelete(article) {
    if (!me || article.querySelector(".actions")) return;
    if (article.dataset.author !== me.id && me.role === "user") return;
    const button = make("button", { type: "button", className: "bad", textContent: T.remove, onclick: async () => {
      if (!await sure(T.removeWhy, T.remove)) return;
      try {
        await command("DELETE", `/v1/comments/${article.dataset.id}`);
        article.remove();
      } catch (error) { button.after(make("span", { className: "problem", role: "alert", textContent: error.message })); }
    } });
    article.append(make("div", { className: "actions" }, button));
  }
  function sure(question, yes) {
    const accept = make("button", { value: "yes", className: "main", textContent: yes });
    const form = make("form", { method: "dialog", className: "stack" }, make("p", { textContent: question }),
      make("div", { className: "row" }, make("button", { value: "no", textContent: T.cancel }), accept));
    const dialog = make("dialog", { ariaLabel: question }, form);
    document.body.append(dialog);
    dialog.showModal();
    return new Promise(resolve => dialog.addEventListener("close", () => { resolve(dialog.returnValue === "yes"); dialog.remove(); }));
  }

  // --- what comes live: server-sent events, read by hand so that a token can go along ---
  let shown = new AbortController();
  async function listen(list) {
    const { signal } = shown;
    const showsMovie = !list.dataset.live.startsWith("/v1/live/movies/");
    // From where the page was read, so that nothing falls between.
    let last = list.dataset.from ?? null, pause = 1000;
    while (!signal.aborted) {
      await inSight(signal);
      const attempt = new AbortController(), leave = () => attempt.abort(), hide = () => { if (document.hidden) leave(); };
      signal.addEventListener("abort", leave);
      document.addEventListener("visibilitychange", hide);
      try {
        const answer = await send(list.dataset.live, { headers: { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) }, signal: attempt.signal });
        if (answer.status >= 400 && answer.status < 500 && answer.status !== 429) return away(false);
        if (!answer.ok) throw new Error(String(answer.status));
        away(false);
        pause = 1000;
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        let text = "";
        for (;;) {
          const { done, value } = await reader.read();
          if (done) break;
          text += value;
          let end;
          while ((end = text.indexOf("\n\n")) >= 0) {
            const frame = parse(text.slice(0, end));
            text = text.slice(end + 2);
            await show(list, frame, showsMovie, signal);
            if (frame.id) last = frame.id;
          }
        }
      } catch { if (!attempt.signal.aborted) away(true); } finally {
        signal.removeEventListener("abort", leave);
        document.removeEventListener("visibilitychange", hide);
      }
      if (document.hidden) { pause = 1000; continue; }
      await new Promise(resolve => setTimeout(resolve, pause * (0.5 + Math.random())));
      pause = Math.min(pause * 2, 15000);
    }
  }
  // A page that nobody looks at holds no connection: a browser has six for all pages of a site.
  async function inSight(signal) {
    while (document.hidden && !signal.aborted) {
      await new Promise(resolve => {
        document.addEventListener("visibilitychange", resolve, { once: true });
        signal.addEventListener("abort", resolve, { once: true });
      });
    }
  }
  function parse(block) {
    const frame = { event: "message", data: "" };
    for (const line of block.split("\n")) {
      const at = line.indexOf(":");
      if (at < 1) continue;
      const name = line.slice(0, at), value = line.slice(at + 1).replace(/^ /, "");
      if (name === "data") frame.data += frame.data ? `\n${value}` : value; else frame[name] = value;
    }
    return frame;
  }
  async function show(list, frame, showsMovie, signal) {
    if (frame.event !== "message" && !showsMovie) counts?.soon();
    if (frame.event === "reset") return again(list, signal);
    if (frame.event === "comment.posted") {
      const comment = JSON.parse(frame.data);
      settled(list, comment.id);
      if (!$(`c-${comment.id}`)) put(list, card(comment, showsMovie));
    } else if (frame.event === "comment.deleted") {
      const { id } = JSON.parse(frame.data);
      settled(list, id);
      $(`c-${id}`)?.remove();
    }
  }
  function settled(list, id) { list.querySelector(`:scope > .pending[data-posted="${id}"]`)?.remove(); }
  // The list alone: what somebody writes beside it stays.
  async function again(list, signal) {
    const found = (await page(location.href, signal)).querySelector("[data-live]");
    if (!found || signal.aborted) return;
    const pending = [...list.querySelectorAll(":scope > .pending")].filter(one => !found.querySelector(`#c-${one.dataset.posted}`));
    list.replaceChildren(...pending, ...found.childNodes);
    showTimes(list);
    list.querySelectorAll("article.comment:not(.pending)").forEach(showDelete);
  }
  function away(isAway) {
    let note = $("away");
    if (!isAway) return note?.remove();
    if (!note) document.body.append(make("p", { id: "away", className: "problem", role: "status", textContent: T.away }));
  }

  // --- the page again, with what was seen and who is signed in ---
  async function page(url, signal) {
    const answer = await send(url, { headers: { Accept: "text/html" }, signal });
    // A page may say why there is nothing to see.
    if (answer.status >= 500 || !answer.headers.get("Content-Type")?.startsWith("text/html")) throw new Refused(answer.status, {});
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }
  let refreshing = new AbortController();
  async function refresh(url = location.href) {
    // Only what was asked for last is shown.
    refreshing.abort();
    const { signal } = refreshing = new AbortController();
    const found = await page(url, signal);
    signal.throwIfAborted();
    away(false);
    main.replaceChildren(...found.getElementById("main").childNodes);
    document.title = found.title;
    enliven();
  }

  // --- who is signed in ---
  /** Whether there was an answer. */
  async function knowMe() {
    const { token } = kept;
    if (!token) return true;
    if (isToken(token)) {
      try {
        me = await (await ask(ME)).json();
        return true;
      } catch (error) {
        if (error.status !== 401) return false;
      }
    }
    if (kept.token === token) kept.token = null;
    return true;
  }
  let round = 0;
  /** Asks again, after pauses that grow, until there is an answer. The token stays. */
  async function askWhoAgain() {
    const mine = ++round;
    for (let pause = 1000; ; pause = Math.min(2 * pause, 30000)) {
      await new Promise(resolve => setTimeout(resolve, pause * (0.5 + Math.random())));
      await inSight(new AbortController().signal);
      if (mine !== round || !kept.token) return;
      if (await knowMe()) break;
    }
    if (mine !== round) return;
    if (!kept.token) return signedOut();
    showWho();
    await refresh().catch(goOn);
  }
  function signedOut() {
    kept.token = me = null;
    showWho(T.over);
  }
  function showWho(why) {
    const note = text => make("span", { className: "problem small", role: "status", textContent: text });
    const leave = make("button", { type: "button", textContent: T.signOut, onclick: () => { kept.token = kept.seen = null; location.reload(); } });
    const parts = !kept.token ? [make("button", { type: "button", textContent: T.signIn, onclick: signIn })]
      : [me ? make("a", { href: `/people/${me.id}`, textContent: me.display_name }) : note(T.noAnswer), leave];
    if (why) parts.unshift(note(why));
    $("who").replaceChildren(...parts);
  }
  function signIn() {
    const field = make("input", { type: "password", id: "token", autocomplete: "off", spellcheck: false, required: true });
    const refusal = make("p", { className: "problem", role: "alert", hidden: true });
    const refuse = why => { refusal.textContent = why; refusal.hidden = false; };
    const form = make("form", { className: "stack" }, make("h2", { textContent: T.signIn }), make("p", { textContent: T.why }),
      make("div", {}, make("label", { htmlFor: "token", textContent: T.token }), field), refusal,
      make("div", { className: "row" }, make("button", { type: "button", textContent: T.cancel, onclick: () => dialog.close() }),
        make("button", { className: "main", textContent: T.signIn })));
    const dialog = make("dialog", { ariaLabel: T.signIn }, form);
    form.onsubmit = async event => {
      event.preventDefault();
      const token = field.value.trim();
      if (!isToken(token)) return refuse(T.noToken);
      kept.token = token;
      const isKnown = await knowMe();
      if (!kept.token) return refuse(T.wrong);
      dialog.close();
      showWho();
      if (!isKnown) return askWhoAgain();
      refresh().catch(goOn);
    };
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  // --- what one can do on a page ---
  function write(form) {
    const refusal = $("refusal"), button = form.querySelector("button"), list = main.querySelector(".comments"), { movie } = form.dataset;
    const written = () => ({ title: form.title.value, body: form.body.value });
    const refuse = error => {
      refusal.textContent = error instanceof Refused ? error.message : T.failed;
      const fields = ["title", "body"].filter(name => error.pointers?.includes(`#/${name}`)).map(name => form[name]);
      // Beside what it is about.
      fields.length ? fields[0].after(refusal) : button.before(refusal);
      for (const field of fields) field.setAttribute("aria-invalid", "true");
      refusal.hidden = false;
      fields[0]?.focus();
    };
    const accept = () => {
      refusal.hidden = true;
      for (const name of ["title", "body"]) form[name].removeAttribute("aria-invalid");
    };
    let key = newKey();
    form.oninput = () => {
      for (const name of ["title", "body"]) showLength(form[name]);
      key = newKey();
      drafts.keep(movie, written());
    };
    form.onsubmit = async event => {
      event.preventDefault();
      if (!me) return signIn();
      const sent = written(), body = { body: sent.body };
      if (sent.title.trim()) body.title = sent.title;
      const pending = card({ id: key, author: me, title: body.title, body: body.body, posted_at: new Date().toISOString() }, false);
      pending.classList.add("pending");
      pending.querySelector(".actions")?.remove();
      const state = make("p", { className: "quiet small", textContent: T.sending });
      pending.append(state);
      list.querySelector(":scope > .empty")?.remove();
      list.prepend(pending);
      accept();
      button.disabled = true;
      try {
        pending.dataset.posted = (await command("POST", `/v1/movies/${movie}/comments`, body, key)).id;
      } catch (error) {
        pending.remove();
        refuse(error);
        return;
      } finally { button.disabled = false; }
      // What was written meanwhile stays.
      for (const name of ["title", "body"]) if (form[name].value === sent[name]) form[name].value = "";
      form.oninput();
      const id = pending.dataset.posted;
      try {
        const comment = await (await ask(`/v1/comments/${id}?wait=10s`)).json();
        pending.remove();
        if (!$(`c-${id}`)) put(list, card(comment, false));
      } catch (error) {
        // It is posted all the same; the stream brings it, or has brought it, unless somebody has deleted it.
        if (error.status === 410 || $(`c-${id}`)) pending.remove(); else state.textContent = T.posted;
      }
      counts?.soon();
    };
    const draft = drafts.read(movie);
    if (!form.title.value && !form.body.value) [form.title.value, form.body.value] = [draft.title ?? "", draft.body ?? ""];
    for (const name of ["title", "body"]) showLength(form[name]);
    form.hidden = false;
  }
  /** Says how long the text is once it comes near to what is allowed; the service has the last word. Characters are code points. */
  function showLength(field) {
    const most = Number(field.dataset.most), note = $(`${field.id}-length`);
    let length = 0;
    for (const _ of field.value.replace(/^\p{White_Space}+|\p{White_Space}+$/gu, "")) length++;
    note.hidden = length <= 0.9 * most;
    note.classList.toggle("problem", length > most);
    if (!note.hidden) note.textContent = T.length(length, most);
  }
  async function favor(button) {
    const user = button.dataset.user;
    if (user === me.id) return;
    let is = false, cursor = "";
    do {
      const page = await (await ask(`/v1/me/favorites?limit=100${cursor}`)).json();
      is = page.items.some(one => one.id === user);
      cursor = page.next_cursor && `&cursor=${page.next_cursor}`;
    } while (!is && cursor);
    const say = () => { button.textContent = is ? T.unfavorite : T.favorite; button.setAttribute("aria-pressed", String(is)); };
    say();
    button.hidden = false;
    button.onclick = async () => {
      $("refusal").hidden = true;
      button.disabled = true;
      try {
        await command(is ? "DELETE" : "PUT", `/v1/me/favorites/${user}`);
        is = !is;
        say();
      } catch (error) {
        $("refusal").textContent = error instanceof Refused ? error.message : T.failed;
        $("refusal").hidden = false;
      } finally { button.disabled = false; }
    };
  }
  const viewed = new Set();
  function view(movie) {
    if (viewed.has(movie)) return;
    viewed.add(movie);
    command("POST", `/v1/movies/${movie}/views`).then(() => counts?.soon()).catch(() => {});
  }
  // --- how often a movie was commented on and viewed, as long as somebody looks ---
  const COUNTS_AFTER = 1500, COUNTS_EVERY = 10000;
  let counts = null;
  class Counts {
    constructor(place, signal) {
      Object.assign(this, { place, signal, wanted: false, isReading: false });
      const timer = setInterval(() => this.soon(), COUNTS_EVERY);
      signal.addEventListener("abort", () => clearInterval(timer));
    }
    /** Reads them after a moment, once for all that is asked meanwhile; not all who look at a movie at the same time. */
    async soon() {
      this.wanted = true;
      if (this.isReading) return;
      this.isReading = true;
      while (this.wanted && !this.signal.aborted) {
        await new Promise(resolve => setTimeout(resolve, COUNTS_AFTER * (0.5 + Math.random())));
        this.wanted = false;
        if (document.hidden || this.signal.aborted) break;
        try {
          const found = await (await ask(`/v1/movies/${this.place.dataset.counts}`, { signal: this.signal })).json();
          this.place.textContent = T.counts(found.comment_count, found.view_count);
        } catch { /* next time */ }
      }
      this.isReading = false;
    }
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) counts?.soon(); });
  // What was shown stays, unless something newer was asked for.
  function goOn(error) { if (error.name !== "AbortError") enliven(); }
  function enliven() {
    shown.abort();
    shown = new AbortController();
    showTimes(main);
    for (const article of main.querySelectorAll("article.comment")) showDelete(article);
    const form = $("write");
    if (form && me) write(form);
    if ($("sign-in-to-post")) $("sign-in-to-post").hidden = Boolean(kept.token);
    if ($("favorite") && me) favor($("favorite")).catch(() => {});
    const counted = main.querySelector("[data-counts]");
    counts = counted && new Counts(counted, shown.signal);
    const movie = main.querySelector("[data-viewed]");
    if (movie) view(movie.dataset.viewed);
    for (const list of main.querySelectorAll("[data-live]")) listen(list);
  }

  // --- searching while typing ---
  let asked = 0;
  $("q").addEventListener("input", () => {
    const mine = ++asked;
    setTimeout(async () => {
      if (mine !== asked || !$("q").value.trim()) return;
      const url = `/search?q=${encodeURIComponent($("q").value)}`;
      try {
        if (location.pathname !== "/search") history.pushState(null, "", url); else history.replaceState(null, "", url);
        await refresh(url);
      } catch { /* what is there stays */ }
    }, 250);
  });
  addEventListener("popstate", () => location.reload());

  // --- what stands beside moves on ---
  setInterval(async () => {
    const aside = $("aside");
    if (!aside || document.hidden) return;
    try {
      const found = new DOMParser().parseFromString(await (await ask("/")).text(), "text/html").getElementById("aside");
      if (found && aside.isConnected) aside.replaceChildren(...found.childNodes);
    } catch { /* next time */ }
  }, 20000);

  (async () => {
    const had = kept.token, isKnown = await knowMe();
    showWho(had && !kept.token ? T.over : "");
    if (!isKnown) askWhoAgain();
    // Who is signed in, and what they have done a moment ago, is not in the page as it came.
    if (kept.token && ($("wants-token") || kept.seen)) await refresh().catch(goOn); else enliven();
  })();
})();
