// Who is signed in, and what a tab keeps of it, in both rooms.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { close, launch, tab } from "./browser.mjs";
import { Installation, deployments } from "./installation.mjs";

const PROBLEM = { contentType: "application/problem+json", body: JSON.stringify({ detail: "the database is away" }) };

for (const kind of deployments()) {
  describe(kind, () => {
    let it, browser, admin, mia, noa, movie;
    before(async () => {
      it = await Installation.start(kind);
      browser = await launch();
      [admin, mia, noa] = [it.token("admin", "admin"), it.token("mia"), it.token("noa")];
      movie = (await it.command(admin, "POST", "/v1/movies", { title: "Ran" })).id;
      await it.settled(`/v1/movies/${movie}`);
    });
    after(async () => {
      await browser?.close();
      await it?.stop();
    });
    const kept = (page, name) => page.evaluate(name => sessionStorage.getItem(name), name);
    /** Answers `path` by `answer` until the function that it gives is called. */
    const away = async (page, path, answer) => {
      let isAway = true;
      await page.route(path, route => isAway ? answer(route) : route.continue());
      return () => { isAway = false; };
    };
    const unavailable = route => route.fulfill({ status: 503, ...PROBLEM });

    test("what another installation had shown is forgotten, and everything works", async () => {
      for (const path of ["/", `/movies/${movie}`, "/favorites"]) {
        const page = await tab(browser, it, { token: mia });
        await page.addInitScript(() => sessionStorage.getItem("tried") ?? (sessionStorage.setItem("seen", "b2Ygb2xk"), sessionStorage.setItem("tried", "yes")));
        await page.goto(it.page + path);
        await page.waitForSelector("#who a");
        await page.waitForFunction(() => sessionStorage.getItem("seen") !== "b2Ygb2xk");
        assert.equal(await page.isVisible("#wants-token"), false);
        if (path.startsWith("/movies")) {
          await page.fill("#body", "from a tab that was elsewhere");
          await page.evaluate(() => sessionStorage.setItem("seen", "b2Ygb2xk"));
          await page.click("#write button.main");
          await page.waitForSelector("article.comment:not(.pending) >> text=from a tab that was elsewhere");
          await it.command(noa, "POST", `/v1/movies/${movie}/comments`, { body: "comes live" });
          await page.waitForSelector("text=comes live");
        }
        await close(page, "422");
      }
    });

    test("whoever cannot be asked after is not signed out, and is known later", async () => {
      for (const answer of [unavailable, route => route.abort()]) {
        const page = await tab(browser, it, { token: mia });
        const back = await away(page, "**/v1/me", answer);
        await page.goto(`${it.page}/movies/${movie}`);
        await page.waitForSelector("#who [role=status]:has-text('No answer')");
        assert.equal(await page.locator("#who button:has-text('Sign in')").count(), 0);
        assert.equal(await page.isVisible("#sign-in-to-post"), false);
        assert.equal(await kept(page, "token"), mia);
        back();
        await page.waitForSelector("#who a:text-is('mia')");
        await page.waitForSelector("#write:not([hidden])");
        await close(page, "503", "ERR_FAILED");
      }
    });

    test("a token that is pasted while there is no answer is not called wrong", async () => {
      const page = await tab(browser, it);
      const back = await away(page, "**/v1/me", unavailable);
      await page.goto(`${it.page}/movies/${movie}`);
      await page.click("#who button");
      await page.fill("#token", mia);
      await page.click("dialog button.main");
      await page.waitForSelector("#who [role=status]:has-text('No answer')");
      assert.equal(await kept(page, "token"), mia);
      back();
      await page.waitForSelector("#who a:text-is('mia')");
      await close(page, "503");
    });

    test("a token that is not accepted any more is not dropped in silence", async () => {
      const page = await tab(browser, it, { token: "of.another.time" });
      await page.goto(`${it.page}/movies/${movie}`);
      await page.waitForSelector("#who [role=status]:has-text('not accepted any more')");
      assert.equal(await page.isVisible("#who button:has-text('Sign in')"), true);
      assert.equal(await kept(page, "token"), null);
      await close(page, "401");
    });

    test("a token that ends while one looks says so, and reading goes on", async () => {
      const page = await tab(browser, it, { token: mia });
      await page.goto(`${it.page}/movies/${movie}`);
      await page.waitForSelector("#who a");
      await page.evaluate(() => sessionStorage.setItem("token", "of.another.time"));
      await page.fill("#q", "elsewhere");
      await page.waitForSelector("#results mark");
      await page.waitForSelector("#who [role=status]:has-text('not accepted any more')");
      await close(page, "401");
    });

    test("what is no token is refused and not kept", async () => {
      const page = await tab(browser, it);
      await page.goto(`${it.page}/movies/${movie}`);
      await page.click("#who button");
      for (const [text, why] of [["トークン", "no token"], ["a b", "no token"], ["a.b.c", "not accepted"]]) {
        await page.fill("#token", text);
        await page.click("dialog button.main");
        await page.waitForSelector(`dialog .problem:has-text('${why}')`);
        assert.equal(await kept(page, "token"), null, text);
      }
      await page.fill("#token", mia);
      await page.click("dialog button.main");
      await page.waitForSelector("#who a:text-is('mia')");
      await close(page, "401");
      // What an earlier page may have kept.
      const other = await tab(browser, it, { token: "トークン" });
      await other.goto(`${it.page}/movies/${movie}`);
      await other.waitForSelector("#who [role=status]:has-text('not accepted any more')");
      assert.equal(await kept(other, "token"), null);
      await close(other);
    });

    test("the control room keeps a token while there is no answer, and none that is refused", async () => {
      const page = await tab(browser, it, { token: admin });
      const back = await away(page, "**/v1/admin/steps", unavailable);
      await page.goto(`${it.page}/control`);
      await page.waitForSelector("#problem:has-text('the database is away')");
      assert.equal(await kept(page, "token"), admin);
      back();
      await page.waitForSelector("#step-rows tr");
      await page.waitForSelector("#problem", { state: "hidden" });
      await page.click("#sign-out");
      for (const [text, why] of [["トークン", "no token"], [mia, "role is not admin"]]) {
        await page.fill("#token", text);
        await page.click("#sign-in button");
        await page.waitForSelector(`#sign-in-problem:has-text('${why}')`);
        assert.equal(await kept(page, "token"), null, text);
      }
      await close(page, "503", "403");
    });
  });
}
