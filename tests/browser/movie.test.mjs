// A movie's page, and the people who write on it.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { after, before, describe, test } from "node:test";
import { barriers, close, launch, open as openTab, tab } from "./browser.mjs";
import { Installation, deployments } from "./installation.mjs";

/** A way to the service at `url` whose connections can fall silent, as where the other side has vanished. */
async function wayTo(url) {
  const ends = [];
  const server = createServer(here => {
    const there = connect(Number(new URL(url).port), "127.0.0.1");
    for (const [from, to] of [[here, there], [there, here]]) {
      from.on("error", () => {}).pipe(to);
      ends.push(from);
    }
    there.on("data", () => way.heard());
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const way = {
    url: `http://127.0.0.1:${server.address().port}`,
    close: () => { ends.forEach(end => end.destroy()); server.close(); },
    vanish: () => ends.forEach(end => end.unpipe()),
  };
  way.opened = new Promise(resolve => { way.heard = resolve; });
  return way;
}

for (const kind of deployments()) {
  describe(kind, () => {
    let it, browser, admin, mia, noa;
    before(async () => {
      it = await Installation.start(kind);
      browser = await launch();
      [admin, mia, noa] = [it.token("admin", "admin"), it.token("mia"), it.token("noa")];
    });
    after(async () => {
      await browser?.close();
      await it?.stop();
    });
    const movieCalled = async title => {
      const { id } = await it.command(admin, "POST", "/v1/movies", { title });
      await it.settled(`/v1/movies/${id}`);
      return id;
    };
    const open = (path, options) => openTab(browser, it, path, options);

    test("nothing that is pasted is cut, and what is too long says so beside its field", async () => {
      const movie = await movieCalled("Long");
      const page = await open(`/movies/${movie}`, { token: mia });
      await page.waitForSelector("#write:not([hidden])");
      for (const [field, most] of [["title", 200], ["body", 10_000]]) {
        await page.fill("#body", "short");
        const [fits, tooLong] = ["🎬".repeat(most), "🎬".repeat(most + 1)];
        await page.fill(`#${field}`, ` ${tooLong}\n`.slice(0, field === "title" ? -1 : undefined));
        await page.waitForSelector(`#${field}-length.problem:has-text('${most + 1} of ${most} characters: 1 too many')`);
        assert.deepEqual(await barriers(page), []);
        await page.click("#write button.main");
        await page.waitForSelector(`#${field} + #refusal:not([hidden])`);
        assert.notEqual(await page.textContent("#refusal"), "");
        assert.equal(await page.getAttribute(`#${field}`, "aria-invalid"), "true");
        assert.equal((await page.inputValue(`#${field}`)).trim(), tooLong);
        await page.fill(`#${field}`, fits);
        await page.waitForSelector(`#${field}-length:not(.problem):has-text('${most} of ${most} characters')`);
        await page.click("#write button.main");
        await page.waitForFunction(() => document.querySelector("#body").value === "");
        assert.equal(await page.isVisible("#refusal"), false);
        assert.equal(await page.isVisible(`#${field}-length`), false);
        await page.waitForSelector("article.comment:not(.pending)");
      }
      await close(page, "422");
    });

    test("what is searched for is not cut", async () => {
      const page = await open("/");
      const text = "word ".repeat(60);
      await page.fill("#q", text);
      await page.waitForURL("**/search?q=*");
      assert.equal(await page.inputValue("#q"), text);
      await close(page);
    });

    test("the counts of a movie move while one looks", async () => {
      const movie = await movieCalled("Counted");
      const counts = "[data-counts]";
      const reader = await open(`/movies/${movie}`);
      await reader.waitForSelector(`${counts}:text-matches('^0 comments · [1-9]\\\\d* views?$')`);
      const writer = await open(`/movies/${movie}`, { token: mia });
      await writer.waitForSelector("#write:not([hidden])");
      await writer.fill("#body", "the first");
      await writer.click("#write button.main");
      for (const page of [reader, writer]) await page.waitForSelector(`${counts}:text-matches('^1 comment · ')`);
      await it.command(noa, "POST", `/v1/movies/${movie}/comments`, { body: "the second" });
      for (const page of [reader, writer]) await page.waitForSelector(`${counts}:text-matches('^2 comments · ')`);
      await writer.click("article.comment .actions button");
      await writer.click("dialog button.main");
      for (const page of [reader, writer]) await page.waitForSelector(`${counts}:text-matches('^1 comment · ')`);
      for (let n = 0; n < 20; n++) await it.command(noa, "POST", `/v1/movies/${movie}/views`);
      await reader.waitForSelector(`${counts}:text-matches('^1 comment · 2\\\\d views$')`);
      await close(reader);
      await close(writer);
    });

    test("a page notices that the service has vanished, and goes on with what it has missed", async t => {
      const movie = await movieCalled("Silent");
      const way = await wayTo(it.page);
      t.after(way.close);
      const reader = await tab(browser, it);
      await reader.clock.install();
      await reader.route("**/v1/live/**", route => route.continue({ url: route.request().url().replace(it.page, way.url) }));
      await reader.goto(`${it.page}/movies/${movie}`);
      await way.opened;
      way.vanish();
      await it.command(noa, "POST", `/v1/movies/${movie}/comments`, { body: "said meanwhile" });
      await reader.clock.fastForward(41_000);
      await reader.waitForSelector("article.comment:has-text('said meanwhile')");
      assert.equal(await reader.locator("#away").count(), 0);
      await close(reader);
    });

    test("a journey tells what was done, in both languages", async () => {
      const movie = await movieCalled("Told");
      await it.command(mia, "POST", `/v1/movies/${movie}/comments`, { body: "told" });
      await it.settled(`/v1/movies/${movie}/comments`);
      const { id } = await (await fetch(`${it.page}/v1/me`, { headers: { Authorization: `Bearer ${mia}` } })).json();
      for (const [locale, words, unknown] of [["en-US", "commented on", "did something"], ["ja-JP", "コメント：", "操作"]]) {
        const page = await open(`/people/${id}`, { locale });
        const steps = await page.locator(".journey li").allTextContents();
        assert.ok(steps.some(step => step.includes(words)), steps.join(" | "));
        assert.ok(steps.every(step => !step.includes(unknown)), steps.join(" | "));
        await close(page);
      }
    });
  });
}
