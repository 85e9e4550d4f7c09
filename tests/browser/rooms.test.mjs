// Both rooms, used as people use them.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { barriers, close, launch, open as openTab, tab } from "./browser.mjs";
import { Installation, broken, deployments, eventually } from "./installation.mjs";

const MARKUP = "<img src=x onerror=alert(1)> <script>alert(2)</script> & \"quotes\"";

for (const kind of deployments()) {
  describe(kind, () => {
    let it, browser, admin, mia, noa, movie, other;
    before(async () => {
      it = await Installation.start(kind, [broken("events/0/0", "broken")]);
      browser = await launch();
      [admin, mia, noa] = [it.token("admin", "admin"), it.token("mia"), it.token("noa")];
      movie = (await it.command(admin, "POST", "/v1/movies", { title: "Ran" })).id;
      other = (await it.command(admin, "POST", "/v1/movies", { title: "Ikiru" })).id;
      await it.settled(`/v1/movies/${movie}`);
      await it.settled(`/v1/movies/${other}`);
    });
    after(async () => {
      await browser?.close();
      await it?.stop();
    });
    const open = (path, options) => openTab(browser, it, path, options);

    test("a post shows at once, settles, and comes up in another window by itself", async () => {
      const reader = await open(`/movies/${movie}`);
      const writer = await open(`/movies/${movie}`, { token: mia });
      await writer.fill("#body", MARKUP);
      await writer.click("#write button.main");
      const settled = "article.comment:not(.pending)";
      await writer.waitForSelector(settled);
      await reader.waitForSelector(settled);
      for (const page of [writer, reader]) {
        assert.equal(await page.textContent(`${settled} .body`), MARKUP);
        assert.equal(await page.locator(`${settled} img, ${settled} script`).count(), 0);
        assert.equal(await page.locator("article.comment").count(), 1);
      }
      assert.equal(await writer.inputValue("#body"), "");
      await writer.click(`${settled} .actions button`);
      await writer.click("dialog button.main");
      await reader.waitForFunction(() => !document.querySelector("article.comment"));
      await close(reader);
      await close(writer);
    });

    test("what is refused says why and is not lost", async () => {
      const page = await open(`/movies/${movie}`, { token: mia });
      await page.waitForSelector("#write:not([hidden])");
      await page.fill("#body", "\u200b");
      await page.click("#write button.main");
      await page.waitForSelector("#refusal:not([hidden])");
      assert.notEqual(await page.textContent("#refusal"), "");
      assert.equal(await page.inputValue("#body"), "\u200b");
      await close(page, "422");
    });

    test("what is posted and cannot be read back is not said to be lost", async () => {
      const page = await open(`/movies/${other}`, { token: mia });
      await page.waitForSelector("#write:not([hidden])");
      await page.route("**/v1/comments/*?wait=10s", route => route.fulfill({ status: 503, contentType: "application/problem+json", body: "{}" }));
      await page.fill("#body", "Read by the stream alone.");
      await page.click("#write button.main");
      await page.waitForSelector("article.comment:not(.pending) .body:text-is('Read by the stream alone.')");
      await page.waitForFunction(() => !document.querySelector("article.pending"));
      assert.equal(await page.inputValue("#body"), "");
      assert.equal(await page.isVisible("#refusal"), false);
      await close(page, "503");
    });

    test("what is written outlives the token and the page", async () => {
      const page = await open(`/movies/${other}`, { token: mia });
      await page.waitForSelector("#write:not([hidden])");
      await page.fill("#body", "A long thought.");
      await page.evaluate(() => sessionStorage.setItem("token", "over"));
      await page.click("#write button.main");
      await page.waitForSelector("#refusal:not([hidden])");
      assert.equal(await page.inputValue("#body"), "A long thought.");
      await page.click("#who button");
      await page.fill("#token", mia);
      await page.click("dialog button.main");
      await page.waitForSelector("#who a");
      await page.waitForSelector("#write:not([hidden])");
      assert.equal(await page.inputValue("#body"), "A long thought.");
      await page.fill("#q", "thought");
      await page.waitForURL("**/search?q=thought");
      await page.goto(`${it.page}/movies/${other}`);
      await page.waitForSelector("#write:not([hidden])");
      assert.equal(await page.inputValue("#body"), "A long thought.");
      await page.click("#write button.main");
      await page.waitForSelector("article.comment:not(.pending) .body:text-is('A long thought.')");
      assert.equal(await page.inputValue("#body"), "");
      await close(page, "401");
    });

    test("a reader who was cut off catches up", async () => {
      const page = await open(`/movies/${movie}`);
      await it.command(noa, "POST", `/v1/movies/${movie}/comments`, { body: "before" });
      await page.waitForSelector("text=before");
      await page.context().setOffline(true);
      await it.command(noa, "POST", `/v1/movies/${movie}/comments`, { body: "meanwhile" });
      await page.context().setOffline(false);
      await it.restartPage(async () => {});
      await page.waitForSelector("text=meanwhile", { timeout: 60_000 });
      assert.equal(await page.locator("article.comment").count(), 2);
      // The counts may be asked for while nobody answers, too.
      await close(page, "/v1/live/", `/v1/movies/${movie}`);
    });

    test("what is posted between a page and its stream comes up, once and where it belongs", async () => {
      const page = await tab(browser, it);
      let listen;
      const held = new Promise(resolve => { listen = resolve; });
      await page.route("**/v1/live/**", async route => { await held; await route.continue(); });
      await page.goto(`${it.page}/movies/${movie}`);
      await page.waitForSelector("article.comment");
      const before = await page.locator("article.comment").count();
      for (const body of ["nobody listens", "nobody listens yet"]) {
        await it.command(noa, "POST", `/v1/movies/${movie}/comments`, { body });
        await it.settled(`/v1/movies/${movie}/comments`);
      }
      listen();
      await page.waitForSelector("article.comment >> text=nobody listens yet");
      const bodies = await page.locator("article.comment .body").allTextContents();
      assert.deepEqual(bodies.slice(0, 2), ["nobody listens yet", "nobody listens"]);
      assert.equal(bodies.length, before + 2);
      await close(page);
    });

    test("a stream that cannot go on has its list read again, and what is being written stays", async () => {
      const page = await tab(browser, it, { token: mia });
      let listen, streams = 0;
      const held = new Promise(resolve => { listen = resolve; });
      await page.route("**/v1/live/**", async route => {
        await held;
        const headers = { ...route.request().headers(), "last-event-id": "of another installation" };
        await (streams++ ? route.continue() : route.continue({ headers }));
      });
      await page.goto(`${it.page}/movies/${movie}`);
      await page.waitForSelector("#write:not([hidden])");
      await page.fill("#body", "half a thought");
      await it.command(noa, "POST", `/v1/movies/${movie}/comments`, { body: "before the reset" });
      listen();
      await page.waitForSelector("text=before the reset");
      await it.command(noa, "POST", `/v1/movies/${movie}/comments`, { body: "after the reset" });
      await page.waitForSelector("text=after the reset");
      for (const text of ["before the reset", "after the reset"]) assert.equal(await page.locator(`text=${text}`).count(), 1);
      assert.equal(await page.inputValue("#body"), "half a thought");
      await close(page);
    });

    test("no page loads much script", async () => {
      for (const [path, shown] of [[`/movies/${movie}`, "#who button"], ["/control", "#chart canvas"]]) {
        const page = await open(path, { token: path === "/control" ? admin : undefined });
        await page.waitForSelector(shown);
        const bytes = await page.evaluate(() => performance.getEntriesByType("resource")
          .filter(({ initiatorType }) => initiatorType === "script").reduce((all, { decodedBodySize }) => all + decodedBodySize, 0));
        assert.ok(bytes > 1_000 && bytes < 100_000, `${path} loads ${bytes} bytes of script`);
        await close(page);
      }
    });

    test("a favourite's comments come up in the timeline", async () => {
      const { id } = await (await fetch(`${it.page}/v1/me`, { headers: { Authorization: `Bearer ${noa}` } })).json();
      const person = await open(`/people/${id}`, { token: mia });
      await person.click("#favorite");
      await person.waitForSelector("#favorite[aria-pressed=true]");
      const timeline = await open("/favorites", { token: mia });
      await timeline.waitForSelector("text=meanwhile");
      await it.command(noa, "POST", `/v1/movies/${movie}/comments`, { body: "fresh from a favourite" });
      await timeline.waitForSelector("text=fresh from a favourite");
      await close(person);
      await close(timeline);
    });

    test("comments are found while one types, and back goes back", async () => {
      const page = await open("/");
      await page.fill("#q", "favourite");
      await page.waitForSelector("#results mark");
      assert.match(page.url(), /\/search\?q=favourite$/);
      await page.goBack();
      await page.waitForSelector("#aside");
      await close(page);
    });

    test("no page has a barrier, in either colour, language and width", async () => {
      const { id } = await (await fetch(`${it.page}/v1/me`, { headers: { Authorization: `Bearer ${noa}` } })).json();
      const looks = [{ colorScheme: "light" }, { colorScheme: "dark", locale: "ja-JP", viewport: { width: 390, height: 844 } }];
      for (const look of looks) {
        for (const path of ["/", "/movies", `/movies/${movie}`, `/people/${id}`, "/search?q=fresh", "/favorites"]) {
          const page = await open(path, { token: mia, ...look });
          await page.waitForSelector("#who a");
          assert.deepEqual(await barriers(page), [], path);
          assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, `${path} is too wide`);
          await close(page);
        }
        const page = await open("/control", { token: admin, ...look });
        await page.waitForSelector("#step-rows tr");
        await page.waitForSelector("article[data-stream=comments] .plot canvas");
        await page.click("#standing details[data-step=comments] summary");
        await page.waitForSelector("#standing [open] tbody tr");
        assert.deepEqual(await barriers(page), [], "/control");
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "/control is too wide");
        await close(page);
      }
    });

    test("how the steps were doing before the control room was opened is drawn at once", async () => {
      const history = async () => (await (await fetch(`${it.page}/v1/admin/steps/history`, { headers: { Authorization: `Bearer ${admin}` } })).json());
      await eventually("there are two looks", async () => (await history()).times.length > 1);
      const page = await tab(browser, it, { token: admin });
      // Nothing that the page could look at itself.
      await page.route("**/v1/admin/steps", route => route.fulfill({ status: 503, contentType: "application/problem+json", body: "{}" }));
      await page.goto(`${it.page}/control`);
      await page.waitForSelector("#steps-chart canvas");
      assert.equal(await page.isVisible("#steps-empty"), false);
      const course = page.locator("#courses li[data-step=comments] svg");
      assert.match(await course.getAttribute("aria-label"), /running, generation \d+, since \d\d:\d\d:\d\d/);
      assert.notEqual(await course.locator("rect.good").count(), 0);
      // While there is no time but one, there is no axis.
      assert.equal(await page.isVisible("#chart-empty"), true);
      assert.equal(await page.locator("#chart canvas").count(), 0);
      await close(page, "503");
    });

    test("an address without a page has one that says so, without a barrier", async () => {
      for (const [look, title] of [[{ colorScheme: "light" }, "There is nothing here"], [{ colorScheme: "dark", locale: "ja-JP", viewport: { width: 390, height: 844 } }, "ページが見つかりません"]]) {
        const page = await open("/trending", { token: mia, ...look });
        await page.waitForSelector("#who a");
        assert.equal(await page.textContent("h1"), title);
        assert.deepEqual(await barriers(page), []);
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "it is too wide");
        await close(page, "404");
      }
    });

    test("the control room goes on while the counts are away", async () => {
      const page = await tab(browser, it, { token: admin });
      let away = true;
      await page.route("**/v1/stats", route => away
        ? route.fulfill({ status: 503, contentType: "application/problem+json", body: JSON.stringify({ detail: "they are being built" }) })
        : route.continue());
      await page.goto(`${it.page}/control`);
      await page.waitForSelector("#counts-problem:not([hidden])");
      assert.equal(await page.textContent("#counts-problem"), "they are being built");
      assert.equal(await page.locator("#problem").isHidden(), true);
      assert.notEqual(await page.locator("#step-rows tr").count(), 0);
      away = false;
      await page.waitForSelector("#streams .plot canvas");
      assert.equal(await page.locator("#counts-problem").isHidden(), true);
      await close(page, "503");
    });

    test("operators watch a rebuild, see the chart move, and deal with what was set aside", async () => {
      const page = await open("/control", { token: admin });
      const generation = () => page.textContent("tr[data-step=comments] td:nth-child(3)").then(Number);
      await page.waitForSelector("tr[data-step=comments]");
      const first = await generation();
      await page.click("button[aria-label='Rebuild: comments']");
      await page.click("#ask-yes");
      await page.waitForFunction(first => Number(document.querySelector("tr[data-step=comments] td:nth-child(3)").textContent) > first, first, { timeout: 60_000 });
      // The new generation begins in the course of the step.
      await page.waitForSelector("#courses li[data-step=comments] line.turn", { state: "attached" });

      await page.waitForSelector("#chart canvas");
      await it.command(noa, "POST", `/v1/movies/${movie}/comments`, { body: "seen on the chart" });
      await page.waitForFunction(() => [...document.querySelectorAll("#topic-rows td:nth-child(4)")].some(cell => cell.textContent !== "0"));

      // What is counted moves, and so does where the readers of the log stand.
      const comments = "article[data-stream=comments]";
      await page.selectOption(`${comments} select >> nth=1`, "1d");
      const counted = () => page.evaluate(comments => [...document.querySelectorAll(`${comments} tbody td:nth-child(2)`)]
        .reduce((sum, cell) => sum + Number(cell.textContent), 0), comments);
      await page.waitForSelector(`${comments} tbody tr`);
      await page.waitForSelector(`${comments} .ranking li .number`);
      await page.click("#standing details[data-step=comments] summary");
      // By title and name, with the id beside.
      await page.waitForSelector(`${comments} tbody th:text-is('Ran')[title="${movie}"]`);
      await page.waitForSelector(`${comments} .ranking span:text-is('Ran')[title="${movie}"]`);
      await page.selectOption(`${comments} select >> nth=0`, "author");
      await page.waitForSelector(`${comments} tbody th:text-is('noa')[title]`);
      await page.waitForSelector(`${comments} .ranking span:text-is('noa')[title]`);
      await page.selectOption(`${comments} select >> nth=0`, "movie");
      await page.waitForSelector(`${comments} tbody th:text-is('Ran')`);
      const positions = () => page.evaluate(() => [...document.querySelectorAll("#standing details[data-step=comments] .scroll:last-child td:nth-child(3)")]
        .reduce((sum, cell) => sum + Number(cell.textContent), 0));
      await page.waitForFunction(() => document.querySelector("#standing details[data-step=comments] .scroll:last-child td"));
      const [before, stood] = [await counted(), await positions()];
      await it.command(noa, "POST", `/v1/movies/${movie}/comments`, { body: "counted on the chart" });
      await eventually("the count moves", async () => (await counted()) > before);
      await eventually("the position moves", async () => (await positions()) > stood);

      const parked = "#parked-list tbody tr";
      await page.waitForSelector(parked);
      const count = await page.locator(parked).count();
      await page.click(`${parked}:first-child button:has-text("Retry")`);
      await page.click("#ask-yes");
      await page.waitForSelector("#problem:not([hidden])");
      await page.click(`${parked}:first-child button:has-text("Discard")`);
      await page.click("#ask-yes");
      await page.waitForFunction(count => document.querySelectorAll("#parked-list tbody tr").length < count, count);

      await page.fill("#key", movie);
      await page.click("#look button.main");
      await page.waitForSelector("#records .type");
      await close(page);
    });
  });
}
