// The pages of the reading room, as somebody reads on: what is one's own, what comes up, where the focus is.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { barriers, close, launch, open as openTab, tab } from "./browser.mjs";
import { Installation, deployments, eventually } from "./installation.mjs";

const PHONE = { viewport: { width: 390, height: 844 } };
const focused = page => page.evaluate(() => {
  const { tagName, id, textContent } = document.activeElement;
  return `${tagName}${id && `#${id}`} ${textContent.trim().slice(0, 40)}`.trim();
});

for (const kind of deployments()) {
  describe(kind, () => {
    let it, browser, admin, pia, noa, ids;
    before(async () => {
      it = await Installation.start(kind);
      browser = await launch();
      [admin, pia, noa] = [it.token("admin", "admin"), it.token("pia"), it.token("noa")];
      ids = {};
      for (const [name, token] of Object.entries({ pia, noa })) {
        await it.command(token, "PUT", "/v1/me", { display_name: name });
        ids[name] = (await (await fetch(`${it.page}/v1/me`, { headers: { Authorization: `Bearer ${token}`, "Consistency-Token": it.seen } })).json()).id;
      }
    });
    after(async () => {
      await browser?.close();
      await it?.stop();
    });
    const open = (path, options) => openTab(browser, it, path, options);
    const movieCalled = async (title, more = {}) => {
      const { id } = await it.command(admin, "POST", "/v1/movies", { title, ...more });
      await it.settled(`/v1/movies/${id}`);
      return id;
    };
    const say = (token, movie, body) => it.command(token, "POST", `/v1/movies/${movie}/comments`, { body });
    const signIn = async (page, token) => {
      await page.fill("#token", token);
      await page.press("#token", "Enter");
      await page.waitForSelector("#who a");
    };
    const bodies = page => page.locator("article.comment .body").allTextContents();

    test("whoever is signed in has pages of their own: after signing in, a click and a reload", async () => {
      const [seen, picked] = [await movieCalled("Seen"), await movieCalled("Picked")];
      await say(noa, picked, "yes");
      await it.command(pia, "PUT", `/v1/me/favorites/${ids.noa}`);
      await it.command(pia, "POST", `/v1/movies/${seen}/views`);
      await it.settled("/v1/recommendations");
      const page = await open("/");
      await page.waitForSelector("#who button");
      const own = "[aria-labelledby=recommended] li:has-text('noa, a favourite of yours')";
      assert.equal(await page.locator(own).count(), 0);
      await page.click("#who button");
      await signIn(page, pia);
      await page.waitForSelector(own);
      await page.click("#who a");
      await page.waitForSelector(".journey li:has-text('looked at Seen')");
      await page.click(".brand");
      await page.waitForSelector(own);
      await page.reload();
      await page.waitForSelector(own);
      assert.equal(await page.evaluate(() => sessionStorage.getItem("seen")), null);
      // To others the same pages are as they are to everybody.
      await page.goto(`${it.page}/people/${ids.noa}`);
      await page.waitForSelector("#favorite:not([hidden])");
      assert.equal(await page.locator(".journey li:has-text('looked at')").count(), 0);
      await close(page);
    });

    test("what is said elsewhere comes up on each page with a list, and costs nothing while nothing is said", async () => {
      const company = (await it.command(admin, "POST", "/v1/companies", { name: "Omori", contact_email: "press@omori.example" })).id;
      const movie = await movieCalled("Ran", { company_id: company });
      await say(noa, movie, "the first");
      await it.settled("/v1/comments");
      const pages = await Promise.all(["/", `/people/${ids.noa}`, `/companies/${company}`].map(path => open(path)));
      const unchanged = pages.map(page => page.waitForResponse(answer => answer.status() === 304));
      await Promise.all(unchanged);
      await say(noa, movie, "the second");
      for (const page of pages) {
        await page.waitForSelector("article.comment .body:text-is('the second')");
        assert.deepEqual((await bodies(page)).slice(0, 2), ["the second", "the first"]);
        await close(page);
      }
    });

    test("what comes up moves neither the focus nor what is being read", async () => {
      const movie = await movieCalled("Long");
      for (let n = 0; n < 20; n++) await say(noa, movie, `line ${n} ${"of many words ".repeat(40)}`);
      await it.settled("/v1/comments");
      const page = await open("/");
      const read = page.locator("article.comment >> nth=5");
      const id = await read.getAttribute("id");
      await read.evaluate(one => one.scrollIntoView({ behavior: "instant" }));
      const top = () => page.evaluate(id => Math.round(document.getElementById(id).getBoundingClientRect().top), id);
      const before = await top();
      await say(pia, movie, "above what is read");
      await page.waitForSelector("text=above what is read");
      assert.ok(Math.abs(await top() - before) <= 1, `it stood at ${before} and stands at ${await top()}`);
      await page.evaluate(() => scrollTo(0, 0));
      const link = page.locator(`#${id} header a >> nth=0`);
      await link.evaluate(one => one.focus({ preventScroll: true }));
      const stood = await top();
      await say(pia, movie, "and once more");
      await page.waitForSelector("text=and once more");
      assert.equal(await link.evaluate(one => one === document.activeElement), true);
      assert.ok(Math.abs(await top() - stood) <= 1, `it stood at ${stood} and stands at ${await top()}`);
      await close(page);
    });

    test("more than a page of news leaves no gap, and what is deleted goes", async () => {
      const movie = await movieCalled("Busy");
      await say(noa, movie, "from before");
      await it.settled("/v1/comments");
      const page = await tab(browser, it);
      let go;
      const held = new Promise(resolve => { go = resolve; });
      await page.route("**/v1/comments?*", async route => { await held; await route.continue(); });
      await page.goto(`${it.page}/`);
      const posted = [];
      for (let n = 0; n < 25; n++) posted.unshift((await say(pia, movie, `news ${n}`)).id);
      await it.settled("/v1/comments");
      go();
      await page.waitForSelector("text=news 24");
      const shown = () => page.locator("article.comment").evaluateAll(all => all.map(one => one.dataset.id));
      assert.deepEqual(await shown(), posted.slice(0, 20));
      assert.match(await page.getAttribute(".comments [rel=next]", "href"), /cursor=/);
      await it.command(pia, "DELETE", `/v1/comments/${posted[3]}`);
      await page.waitForSelector(`#c-${posted[3]}`, { state: "detached" });
      await close(page);
    });

    test("the focus is never lost: beside, after signing in, posting, deleting, and making a favourite", async () => {
      const movie = await movieCalled("Focus");
      await it.command(noa, "POST", `/v1/movies/${movie}/views`);
      await it.settled("/v1/movies");
      const front = await open("/");
      const link = front.locator("[aria-labelledby=new] a:text-is('Focus')");
      await link.focus();
      const newer = await movieCalled("Newer");
      await front.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
      await front.waitForSelector("[aria-labelledby=new] a:text-is('Newer')");
      assert.equal(await link.evaluate(one => one === document.activeElement), true);
      await close(front);

      const page = await open(`/movies/${newer}`);
      await page.focus("#who button");
      await page.keyboard.press("Enter");
      await signIn(page, pia);
      assert.equal(await focused(page), "A pia");
      await page.waitForSelector("#write:not([hidden])");
      assert.equal(await focused(page), "A pia");
      for (const body of ["one", "two"]) {
        await page.focus("#body");
        await page.keyboard.type(body);
        await page.keyboard.press("Tab");
        await page.keyboard.press("Enter");
        await page.waitForSelector(`article.comment:not(.pending) .body:text-is("${body}")`);
        assert.equal(await focused(page), "BUTTON Post");
      }
      for (const [body, next] of [["two", "A pia"], ["one", "SECTION"]]) {
        await page.focus(`article.comment:has-text("${body}") .actions button`);
        await page.keyboard.press("Enter");
        await page.click("dialog button.main");
        await page.waitForFunction(body => ![...document.querySelectorAll(".body")].some(one => one.textContent === body), body);
        assert.equal(await focused(page), next);
      }
      await page.goto(`${it.page}/people/${ids.noa}`);
      await page.waitForSelector("#favorite:not([hidden])");
      const pressed = await page.getAttribute("#favorite", "aria-pressed");
      await page.focus("#favorite");
      for (const now of [pressed === "true" ? "false" : "true", pressed]) {
        await page.keyboard.press("Enter");
        await page.waitForSelector(`#favorite[aria-pressed=${now}]`);
        assert.match(await focused(page), /^BUTTON#favorite/);
      }
      await close(page);
    });

    test("a search says that it goes on and that it is away, and has no address before it is shown", async () => {
      const movie = await movieCalled("Sought");
      await say(noa, movie, "a staircase");
      await it.settled("/v1/search?q=staircase");
      for (const [look, searching, away] of [[{}, "Searching …", "no answer at the moment"], [{ locale: "ja-JP", colorScheme: "dark", ...PHONE }, "検索中…", "応答できません"]]) {
        const page = await open("/movies", look);
        let go;
        const held = new Promise(resolve => { go = resolve; });
        await page.route("**/search?**", async route => { await held; await route.fulfill({ status: 503, contentType: "text/html", body: "<p>no" }); });
        await page.focus("#q");
        await page.keyboard.type("stair");
        await page.waitForSelector(`#search-state[role=status]:has-text("${searching}")`);
        go();
        await page.waitForSelector(`#search-state.problem:has-text("${away}")`);
        assert.deepEqual(await barriers(page), []);
        assert.equal(new URL(page.url()).pathname, "/movies");
        await page.unroute("**/search?**");
        await page.keyboard.type("case");
        await page.waitForURL("**/search?q=staircase");
        await page.waitForSelector("#results mark");
        assert.equal(await page.locator("#search-state.problem").count(), 0);
        assert.equal(await page.textContent("#search-state"), (await page.textContent("#found-count")));
        assert.equal(await page.locator(".bar [aria-current]").count(), 0);
        // Clearing goes back to where one was, and typing goes on from there.
        await page.fill("#q", "");
        await page.waitForURL(`${it.page}/movies`);
        await page.waitForSelector("article.movie");
        assert.match(await focused(page), /^INPUT#q/);
        assert.equal(await page.locator(".bar nav [aria-current]").count(), 1);
        await page.keyboard.type("staircase");
        await page.waitForSelector("#results mark");
        await page.goto(`${it.page}/search?q=a+staircase`);
        await page.fill("#q", "");
        await page.waitForURL(`${it.page}/search`);
        assert.equal(await page.locator("article.comment").count(), 0);
        await close(page, "503");
      }
    });

    test("a link within the page leaves it as it is", async () => {
      const page = await open("/movies");
      await page.evaluate(() => { document.querySelector("h1").dataset.same = "yes"; });
      await page.keyboard.press("Tab");
      await page.keyboard.press("Enter");
      await page.waitForURL("**/movies#main");
      await page.waitForFunction(() => scrollY > 0 || document.documentElement.scrollHeight <= innerHeight || location.hash === "#main");
      await page.keyboard.press("Tab");
      assert.equal(await page.evaluate(() => document.getElementById("main").contains(document.activeElement)), true);
      assert.equal(await page.locator("h1[data-same]").count(), 1);
      await close(page);
    });

    test("a journey goes back to its beginning, with and without the script", async () => {
      const movie = await movieCalled("Way");
      const ada = it.token("ada");
      await it.command(ada, "PUT", "/v1/me", { display_name: "Ada" });
      for (let n = 0; n < 45; n++) await say(ada, movie, `step ${n}`);
      await it.command(ada, "POST", `/v1/movies/${movie}/views`);
      await it.settled("/v1/movies");
      const headers = { Authorization: `Bearer ${ada}`, "Consistency-Token": it.seen };
      const { id } = await (await fetch(`${it.page}/v1/me`, { headers })).json();
      await it.settled(`/v1/users/${id}/journey`);
      const steps = ".journey li", older = "aside [rel=next]";
      // The first comment may come before the profile is known, and registers her then: a step more.
      const all = async more => (await (await fetch(`${it.page}/v1/users/${id}/journey?limit=100`, { headers: { "Consistency-Token": it.seen, ...more } })).json()).items.length;
      const [everybody, own] = [await all({}), await all(headers)];
      assert.equal(own, everybody + 1);
      for (const [token, most] of [[undefined, everybody], [ada, own]]) {
        const page = await open(`/people/${id}`, { token });
        await page.waitForSelector(token ? `${steps}:has-text('looked at')` : "#who button");
        for (const number of [20, 40]) {
          assert.equal(await page.locator(steps).count(), number);
          await page.focus(older);
          await page.keyboard.press("Enter");
          await page.waitForFunction(([steps, number]) => document.querySelectorAll(steps).length > number, [steps, number]);
          assert.match(await focused(page), /^LI /);
        }
        assert.equal(await page.locator(steps).count(), most);
        assert.match(await page.locator(steps).last().textContent(), /joined|changed the profile/);
        assert.equal(await page.locator(older).count(), 0);
        assert.equal(new URL(page.url()).search, "");
        await close(page);
      }
      const plain = await open(`/people/${id}`, { javaScriptEnabled: false });
      await plain.click("section.comments [rel=next]");
      const comments = await bodies(plain);
      await plain.click(older);
      assert.deepEqual(await bodies(plain), comments);
      assert.match(plain.url(), /#journey$/);
      await plain.click(older);
      assert.equal(await plain.locator(steps).count(), everybody - 40);
      assert.equal(await plain.locator(older).count(), 0);
      await close(plain);
    });

    test("nothing on a Japanese page is English without saying so", async () => {
      const page = await open(`/movies/${await movieCalled("日本")}`, { token: pia, locale: "ja-JP", ...PHONE });
      await page.waitForSelector("#write:not([hidden])");
      for (const [field, text, why] of [["title", "x".repeat(203), "投稿できません：3 文字超過しています。"], ["body", "\u00a0", "投稿できません：入力してください。"]]) {
        await page.fill("#title", "");
        await page.fill("#body", "本文");
        await page.fill(`#${field}`, text);
        await page.click("#write button.main");
        await page.waitForSelector(`#${field} + #refusal[lang=ja]:text-is("${why}")`);
      }
      await page.fill("#body", "\u200b");
      await page.click("#write button.main");
      await page.waitForSelector("#body + #refusal[lang=en]");
      await page.goto(`${it.page}/movies/00000000-0000-0000-0000-000000000009`);
      await page.waitForSelector(".problem:text-is('このアドレスにページはありません。')");
      await page.goto(`${it.page}/`);
      await page.waitForSelector("[aria-labelledby=recommended] li");
      for (const reason of await page.locator("[aria-labelledby=recommended] li .small").allTextContents()) {
        assert.match(reason, /^(お気に入り|話題)/);
      }
      await close(page, "422", "404");
    });

    test("the list of one's favourites follows when one is added elsewhere", async () => {
      const movie = await movieCalled("Elsewhere");
      const [uma, zoe] = [it.token("uma"), it.token("zoe")];
      await it.command(zoe, "PUT", "/v1/me", { display_name: "Zoe" });
      const headers = { Authorization: `Bearer ${zoe}`, "Consistency-Token": it.seen };
      const { id } = await (await fetch(`${it.page}/v1/me`, { headers })).json();
      await it.command(uma, "PUT", `/v1/me/favorites/${ids.noa}`);
      await it.settled("/v1/movies");
      const page = await open("/favorites", { token: uma });
      await page.waitForSelector("aside li:has-text('noa')");
      await it.command(uma, "PUT", `/v1/me/favorites/${id}`);
      await eventually("the stream has the new favourite, and the list beside has", async () => {
        await say(zoe, movie, "hello from Zoe");
        await page.waitForSelector("text=hello from Zoe", { timeout: 2_000 });
        await page.waitForSelector("aside li:has-text('Zoe')", { timeout: 2_000 });
        return true;
      });
      await close(page);
    });
  });
}
