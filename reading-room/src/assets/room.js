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
      searching: "Searching …", notSearched: "The search has no answer at the moment. Try again in a while.",
      notLoaded: "That could not be loaded. Try again in a while.", empty: "Not posted: this may not be empty.",
      tooOften: "That was asked too often. Try again in a while.", tooLong: n => `Not posted: ${n} ${n === 1 ? "character" : "characters"} too many.`,
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
      searching: "検索中…", notSearched: "検索が応答できません。しばらくしてからもう一度お試しください。",
      notLoaded: "読み込めませんでした。しばらくしてからもう一度お試しください。", empty: "投稿できません：入力してください。",
      tooOften: "リクエストが多すぎます。しばらくしてからもう一度お試しください。", tooLong: n => `投稿できません：${n} 文字超過しています。`,
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
  // How often a list that there is no stream of is asked for again, and what stands beside, in milliseconds.
  const NEWEST_EVERY = 5000, BESIDE_EVERY = 20000, BESIDE_PAUSE = 2000;
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

  // --- changes that leave alone what somebody reads or uses ---
  const FOCUSABLE = "a[href], button, input, textarea, select, [tabindex]";
  /** Changes `part`. When what has the focus in it goes, the focus is where one would go on: at what comes after, or before. */
  function keepingFocus(part, change) {
    const had = document.activeElement, all = [...part.querySelectorAll(FOCUSABLE)], at = all.indexOf(had);
    change();
    if (at < 0 || document.activeElement === had) return;
    const canTake = one => one.isConnected && one.getClientRects().length > 0;
    const next = [...all.slice(at), ...all.slice(0, at).reverse()].find(canTake) ?? [...part.querySelectorAll(FOCUSABLE)].find(canTake) ?? part;
    if (next === part) part.tabIndex = -1;
    next.focus({ preventScroll: true });
  }
  /** Changes a list of comments. What is new comes up on top in sight; of somebody who has gone on in the list nothing moves. */
  function keepingPlace(list, change) {
    const selection = getSelection(), isRead = list.getBoundingClientRect().top < 0 || list.contains(document.activeElement)
      || !selection.isCollapsed && list.contains(selection.anchorNode);
    const read = isRead && [...list.children].find(one => one.getBoundingClientRect().bottom > 0);
    const before = read && read.getBoundingClientRect().top;
    keepingFocus(list, change);
    if (!read?.isConnected) return;
    const moved = read.getBoundingClientRect().top - before;
    if (moved) scrollBy({ top: moved, behavior: "instant" });
  }
  /** Makes `old` what `found` is. What is the same already stays the very element, and what is being posted stays. */
  function renew(old, found) {
    if (old.isEqualNode(found)) return;
    if (old.nodeType !== Node.ELEMENT_NODE) { old.data = found.data; return; }
    // What can take the focus by the script alone goes on to.
    for (const { name } of [...old.attributes]) if (name !== "tabindex" && !found.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of found.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const isPending = node => node?.classList?.contains("pending") ?? false;
    const known = Map.groupBy([...old.childNodes].filter(child => !isPending(child)), nameOf);
    const pairs = [...found.childNodes].map(child => [child, known.get(nameOf(child))?.shift()]);
    for (const rest of known.values()) for (const child of rest) child.remove();
    let at = old.firstChild;
    for (const [child, same] of pairs) {
      while (isPending(at)) at = at.nextSibling;
      if (same && same === at) at = at.nextSibling; else old.insertBefore(same ?? child, at);
      if (same) renew(same, child);
    }
  }
  // What makes a node of a page the one of another page: its id, or what it is about.
  function nameOf(node) {
    if (node.nodeType !== Node.ELEMENT_NODE) return node.nodeName;
    const about = node.localName === "li" ? `${node.querySelector("time")?.dateTime} ${node.querySelector("a")?.getAttribute("href")}` : node.className;
    return `${node.nodeName} ${node.id || about}`;
  }
  /** Makes parts of a page what they are in a page that was read later. */
  function update(part, found) {
    showTimes(found);
    found.querySelectorAll("article.comment").forEach(showDelete);
    for (const pending of part.querySelectorAll(".pending")) if (found.querySelector(`#c-${pending.dataset.posted}`)) pending.remove();
    const list = part.matches(".comments") ? part : part.querySelector(".comments");
    keepingFocus(part, () => list ? keepingPlace(list, () => renew(part, found)) : renew(part, found));
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
    keepingPlace(list, () => {
      list.querySelector(":scope > .empty")?.remove();
      const older = [...list.querySelectorAll(":scope > article:not(.pending)")].find(other => isNewer(article, other));
      if (older) older.before(article); else if (!list.querySelector(":scope [rel=next]")) list.append(article);
      const all = list.querySelectorAll(":scope > article:not(.pending)");
      if (all.length > MOST_SHOWN) all[all.length - 1].remove();
    });
  }
  const takeAway = article => article?.parentElement && keepingPlace(article.parentElement, () => article.remove());
  const timeKey = article => article.querySelector("time").dateTime + article.dataset.id;
  const isNewer = (article, other) => timeKey(article) > timeKey(other);
  function showDelete(article) {
    if (!me || article.querySelector(".actions")) return;
    if (article.dataset.author !== me.id && me.role === "user") return;
    const { id } = article.dataset;
    const button = make("button", { type: "button", className: "bad", textContent: T.remove, onclick: async () => {
      if (!await sure(T.removeWhy, T.remove)) return;
      try {
        await command("DELETE", `/v1/comments/${id}`);
        takeAway(button.closest("article"));
      } catch (error) {
        const refusal = make("span", { className: "problem", role: "alert" });
        button.after(refusal);
        say(refusal, error);
      }
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
  // A line comes every 15 s. Whoever is silent for longer has vanished, although the connection looks open.
  const SILENCE = 40000;
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
      let isSilent = false, silence;
      const heard = () => { clearTimeout(silence); silence = setTimeout(() => { isSilent = true; leave(); }, SILENCE); };
      heard();
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
          heard();
          text += value;
          let end;
          while ((end = text.indexOf("\n\n")) >= 0) {
            const frame = parse(text.slice(0, end));
            text = text.slice(end + 2);
            await show(list, frame, showsMovie, attempt.signal);
            if (frame.id) last = frame.id;
          }
        }
      } catch { if (isSilent || !attempt.signal.aborted) away(true); } finally {
        clearTimeout(silence);
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
      // Of a favourite that was added elsewhere.
      const beside = main.querySelector("[data-moves]");
      if (beside && !beside.querySelector(`a[href="/people/${comment.author.id}"]`)) moveOn();
    } else if (frame.event === "comment.deleted") {
      const { id } = JSON.parse(frame.data);
      settled(list, id);
      takeAway($(`c-${id}`));
    }
  }
  function settled(list, id) { takeAway(list.querySelector(`:scope > .pending[data-posted="${id}"]`)); }
  // The list alone: what somebody writes beside it stays.
  async function again(list, signal) {
    const found = (await page(location.href, signal)).querySelector("[data-live], [data-newest]");
    if (found && !signal.aborted) update(list, found);
  }
  /** Asks for a list that there is no stream of, as long as somebody looks: it has a tag, and while it is the same it is not sent again. */
  async function askNewest(list) {
    const { signal } = shown, path = list.dataset.newest;
    let tag = null, pause = NEWEST_EVERY;
    while (!signal.aborted) {
      await new Promise(resolve => setTimeout(resolve, pause * (0.75 + Math.random() / 2)));
      await inSight(signal);
      if (signal.aborted) return;
      try {
        const answer = await send(path, { headers: tag ? { "If-None-Match": tag } : {}, signal });
        if (answer.status !== 304) {
          if (answer.status >= 400 && answer.status < 500 && answer.status !== 429) return away(false);
          if (!answer.ok) throw new Error(String(answer.status));
          const { items } = await answer.json();
          tag = answer.headers.get("ETag");
          await showNewest(list, items, signal);
        }
        pause = NEWEST_EVERY;
        away(false);
      } catch {
        if (signal.aborted) return;
        away(true);
        pause = Math.min(pause * 2, 60000);
      }
    }
  }
  async function showNewest(list, items, signal) {
    const had = [...list.querySelectorAll(":scope > article")], found = new Set(items.map(({ id }) => id));
    // More came than a page has: nothing may be missing between.
    if (had.length && items.length && !had.some(({ dataset }) => found.has(dataset.id))) return again(list, signal);
    for (const comment of items.toReversed()) if (!$(`c-${comment.id}`)) put(list, card(comment, true));
    // What is missing between those that were found is deleted. Before them there may be some that this answer does not know yet.
    const [newest, oldest] = [items[0], items.at(-1)].map(one => one && one.posted_at + one.id);
    for (const article of had) {
      const key = timeKey(article);
      if (!found.has(article.dataset.id) && key < newest && key > oldest) takeAway(article);
    }
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
  /** Shows the page at `url`, in the place of the one that is shown. */
  async function refresh(url = location.href, beforeShowing = () => {}) {
    // Only what was asked for last is shown.
    refreshing.abort();
    const { signal } = refreshing = new AbortController();
    const found = await page(url, signal);
    signal.throwIfAborted();
    away(false);
    beforeShowing();
    update(main, found.getElementById("main"));
    for (const place of [".brand", ".bar nav"]) renew(document.querySelector(place), found.querySelector(place));
    document.title = found.title;
    here = address();
    enliven();
    return found;
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
    keepingFocus($("who"), () => $("who").replaceChildren(...parts));
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
      const fields = ["title", "body"].filter(name => error.pointers?.includes(`#/${name}`)).map(name => form[name]);
      // Beside what it is about.
      fields.length ? fields[0].after(refusal) : button.before(refusal);
      for (const field of fields) field.setAttribute("aria-invalid", "true");
      say(refusal, error, fields[0] && whyRefused(fields[0]));
      fields[0]?.focus();
    };
    const accept = () => {
      refusal.hidden = true;
      for (const name of ["title", "body"]) form[name].removeAttribute("aria-invalid");
    };
    // A button that is disabled loses the focus.
    const busy = is => { form.isSending = is; button.setAttribute("aria-disabled", String(is)); };
    let key = newKey();
    form.oninput = () => {
      for (const name of ["title", "body"]) showLength(form[name]);
      key = newKey();
      drafts.keep(movie, written());
    };
    form.onsubmit = async event => {
      event.preventDefault();
      if (!me) return signIn();
      if (form.isSending) return;
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
      busy(true);
      try {
        pending.dataset.posted = (await command("POST", `/v1/movies/${movie}/comments`, body, key)).id;
      } catch (error) {
        takeAway(pending);
        refuse(error);
        return;
      } finally { busy(false); }
      // What was written meanwhile stays.
      for (const name of ["title", "body"]) if (form[name].value === sent[name]) form[name].value = "";
      form.oninput();
      const id = pending.dataset.posted;
      try {
        const comment = await (await ask(`/v1/comments/${id}?wait=10s`)).json();
        takeAway(pending);
        if (!$(`c-${id}`)) put(list, card(comment, false));
      } catch (error) {
        // It is posted all the same; the stream brings it, or has brought it, unless somebody has deleted it.
        if (error.status === 410 || $(`c-${id}`)) takeAway(pending); else state.textContent = T.posted;
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
    const most = Number(field.dataset.most), note = $(`${field.id}-length`), length = lengthOf(field);
    note.hidden = length <= 0.9 * most;
    note.classList.toggle("problem", length > most);
    if (!note.hidden) note.textContent = T.length(length, most);
  }
  function lengthOf(field) {
    let length = 0;
    for (const _ of field.value.replace(/^\p{White_Space}+|\p{White_Space}+$/gu, "")) length++;
    return length;
  }
  /** Why a field is refused, where the page can tell. */
  function whyRefused(field) {
    const length = lengthOf(field), most = Number(field.dataset.most);
    return length > most ? T.tooLong(length - most) : length === 0 ? T.empty : null;
  }
  /** Says in `place` why something was not done: in words of the page, and where it has none in those of the service, which are English. */
  function say(place, error, own = null) {
    if (!(error instanceof Refused) || error.status >= 500) own ??= T.failed;
    if (error.status === 401) own ??= T.over;
    if (error.status === 429) own ??= T.tooOften;
    place.lang = own ? language : "en";
    place.textContent = own ?? error.message;
    place.hidden = false;
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
    const mark = () => { button.textContent = is ? T.unfavorite : T.favorite; button.setAttribute("aria-pressed", String(is)); };
    mark();
    button.hidden = false;
    let isSending = false;
    button.onclick = async () => {
      if (isSending) return;
      $("refusal").hidden = true;
      isSending = true;
      try {
        await command(is ? "DELETE" : "PUT", `/v1/me/favorites/${user}`);
        is = !is;
        mark();
      } catch (error) { say($("refusal"), error); } finally { isSending = false; }
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
    const older = main.querySelector("aside [rel=next]");
    if (older) older.onclick = showOlder;
    for (const list of main.querySelectorAll("[data-live]")) listen(list);
    for (const list of main.querySelectorAll("[data-newest]")) askNewest(list);
  }
  /** Puts the steps of a journey that are before those that are shown below them. */
  async function showOlder(event) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const link = event.currentTarget, { signal } = shown, aside = link.closest("aside"), list = aside.querySelector("ol");
    if (link.isAsking) return;
    link.isAsking = true;
    aside.querySelector(".problem")?.remove();
    try {
      const found = (await page(link.href, signal)).querySelector("aside[aria-labelledby=journey]");
      showTimes(found);
      const steps = [...found.querySelectorAll("li")], next = found.querySelector("[rel=next]");
      list.append(...steps);
      if (next) link.href = next.href; else link.parentElement.remove();
      if (!steps.length) return;
      steps[0].tabIndex = -1;
      steps[0].focus({ preventScroll: true });
    } catch {
      if (!signal.aborted) link.after(" ", make("span", { className: "problem small", role: "alert", textContent: T.notLoaded }));
    } finally { link.isAsking = false; }
  }

  // --- searching while typing ---
  let asked = 0;
  const address = () => location.pathname + location.search;
  // Of which page what is shown is.
  let here = address();
  const isSearch = () => location.pathname === "/search";
  $("q").addEventListener("input", () => {
    const mine = ++asked;
    tell("");
    setTimeout(() => { if (mine === asked) $("q").value.trim() ? search(mine) : clear(); }, 250);
  });
  async function search(mine) {
    const url = `/search?q=${encodeURIComponent($("q").value)}`;
    const slow = setTimeout(() => { if (mine === asked) tell(T.searching); }, 400);
    try {
      await refresh(url, () => {
        // Something else was typed, or nothing.
        if (mine !== asked) throw new DOMException("another text", "AbortError");
        if (isSearch()) return history.replaceState(history.state, "", url);
        // Where one was is to be found again.
        history.replaceState({ ...history.state, top: scrollY }, "");
        history.pushState({ isFromHere: true }, "", url);
      });
      if (mine === asked) tell($("found-count")?.textContent ?? "", "unseen");
    } catch (error) {
      goOn(error);
      if (mine === asked) tell(T.notSearched, "problem");
    } finally { clearTimeout(slow); }
  }
  /** Goes back to where one began to type. */
  function clear() {
    if (!isSearch()) return;
    if (history.state?.isFromHere) return history.back();
    refresh("/search", () => history.replaceState(null, "", "/search")).catch(error => {
      goOn(error);
      if (error.name !== "AbortError") tell(T.notLoaded, "problem");
    });
  }
  /** Says how it is with the search: what is read out has to be in its place before. */
  function tell(text, className = "sheet quiet") {
    $("search-state").className = text ? className : "";
    $("search-state").textContent = text;
  }
  addEventListener("popstate", async ({ state }) => {
    // Within the page, as to its content.
    if (here === address()) return;
    const mine = ++asked;
    tell("");
    try {
      const found = await refresh();
      if (mine !== asked) return;
      $("q").value = found.getElementById("q").value;
      scrollTo({ top: state?.top ?? 0, behavior: "instant" });
    } catch (error) { if (error.name !== "AbortError") location.reload(); }
  });

  // --- what stands beside moves on ---
  let isMoving = false;
  async function moveOn() {
    const aside = main.querySelector("[data-moves]");
    if (!aside || document.hidden || isMoving) return;
    isMoving = true;
    try {
      const found = (await page(location.href, shown.signal)).querySelector("[data-moves]");
      if (found && aside.isConnected) update(aside, found);
    } catch { /* next time */ }
    // Not for each of many that come one after the other.
    setTimeout(() => { isMoving = false; }, BESIDE_PAUSE);
  }
  setInterval(moveOn, BESIDE_EVERY);
  document.addEventListener("visibilitychange", moveOn);

  (async () => {
    showTimes(main);
    const had = kept.token, isKnown = await knowMe();
    showWho(had && !kept.token ? T.over : "");
    if (!isKnown) askWhoAgain();
    // Who is signed in, and what they have done a moment ago, is not in the page as it came.
    const own = main.querySelector("[data-own]"), differs = own && ["", me?.id].includes(own.dataset.own);
    if (kept.token && (differs || kept.seen)) await refresh().catch(goOn); else enliven();
  })();
})();
