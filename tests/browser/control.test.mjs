// The control room's look into the log, and what was set aside.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { barriers, close, launch, open } from "./browser.mjs";
import { Installation, broken, deployments } from "./installation.mjs";

const SET_ASIDE = 130;

for (const kind of deployments()) {
  describe(kind, () => {
    let it, browser, admin;
    before(async () => {
      it = await Installation.start(kind, Array.from({ length: SET_ASIDE }, (_, at) => broken(`events/0/${at}`, `key ${at}`)));
      browser = await launch();
      admin = it.token("admin", "admin");
      for (let at = 0; at < 30; at++) await it.command(admin, "POST", "/v1/movies", { title: `Movie ${at}` });
    });
    after(async () => {
      await browser?.close();
      await it?.stop();
    });
    /** The control room, once it knows the topics. */
    const room = async () => {
      const page = await open(browser, it, "/control", { token: admin });
      await page.waitForSelector("#topic option", { state: "attached" });
      return page;
    };
    const titles = page => page.locator("#records pre").allTextContents()
      .then(texts => texts.map(text => JSON.parse(text).data.title).filter(title => title));

    test("the newest records come first, and more of them when asked", async () => {
      const page = await room();
      await page.click("#look button.main");
      await page.waitForFunction(() => document.querySelectorAll("#records li").length === 20);
      assert.equal((await titles(page))[0], "Movie 29");
      await page.click("#more");
      await page.waitForFunction(() => document.querySelectorAll("#records li").length === 40);
      assert.equal(new Set(await titles(page)).size, 30);
      await close(page);
    });

    test("a record that is looked at stays while the log is followed", async () => {
      const page = await room();
      await page.click("#follow");
      await page.locator("#records summary").first().focus();
      await page.keyboard.press("Enter");
      await it.command(admin, "POST", "/v1/movies", { title: "while it is followed" });
      await page.waitForFunction(() => document.querySelector("#records li:first-child pre").textContent.includes("while it is followed"));
      assert.equal(await page.evaluate(() => document.activeElement.closest("#records details")?.open), true);
      assert.deepEqual(await barriers(page), []);
      await close(page);
    });

    test("everything that was set aside can be come to", async () => {
      const page = await open(browser, it, "/control", { token: admin });
      const rows = () => page.locator("#parked-list tbody tr").count();
      await page.waitForSelector("#more-parked");
      const first = await rows();
      assert.equal(first, 100);
      await page.focus("#more-parked");
      let before = first;
      while (await page.locator("#more-parked").count()) {
        await page.keyboard.press("Enter");
        await page.waitForFunction(before => document.querySelectorAll("#parked-list tbody tr").length > before, before);
        before = await rows();
      }
      // Each is set aside by every step that would have read it.
      assert.equal(before % SET_ASIDE, 0);
      assert.equal(await page.evaluate(() => document.querySelector("#parked-list").contains(document.activeElement)), true);
      await close(page);
    });
  });
}
