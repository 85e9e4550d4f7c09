// The page of charts that a program declares, in the example program console/examples/shop.rs.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { barriers, close, launch, open as openTab } from "./browser.mjs";
import { eventually, freePort } from "./installation.mjs";

describe("a page of charts", () => {
  const folder = mkdtempSync(join(tmpdir(), "balcony-charts."));
  let shop, it, browser;
  const start = () => {
    const env = { PATH: process.env.PATH, DATA_DIR: join(folder, "data"), LISTEN: new URL(it.page).host, RUST_LOG: "warn" };
    shop = spawn(process.env.SHOP, [], { env, stdio: ["ignore", "ignore", "inherit"] });
    return eventually("the shop is open", async () => (await fetch(`${it.page}/readyz`)).ok);
  };
  const stop = async () => {
    const ended = new Promise(resolve => shop.once("exit", resolve));
    shop.kill("SIGTERM");
    await ended;
  };
  before(async () => {
    const page = `http://127.0.0.1:${await freePort()}`;
    it = { page, commands: page };
    await start();
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await stop();
    rmSync(folder, { recursive: true, force: true });
  });
  const open = async options => {
    const page = await openTab(browser, it, "", options);
    await page.waitForSelector(".chart .plot canvas");
    return page;
  };
  const sold = page => page.evaluate(() =>
    [...document.querySelectorAll(".chart:first-child tbody td")].reduce((sum, cell) => sum + (Number(cell.textContent) || 0), 0));
  const moves = async page => {
    const before = await sold(page);
    await page.waitForFunction(before => [...document.querySelectorAll(".chart:first-child tbody td")]
      .reduce((sum, cell) => sum + (Number(cell.textContent) || 0), 0) !== before, before);
  };

  test("moves by itself, and goes on after the program was away", async () => {
    const page = await open();
    await moves(page);
    await stop();
    await page.waitForSelector("#state.bad");
    await start();
    await page.waitForSelector("#state.good");
    await moves(page);
    await close(page, "/v1/live/charts");
  });

  test("shows what was counted as text, and a measure with its decimals", async () => {
    const page = await open();
    assert.equal(await page.locator(".chart tbody b").count(), 0);
    const names = await page.locator(".chart:first-child tbody th").allTextContents();
    assert.deepEqual(names, ["<b>juice</b>", "coffee", "tea"]);
    const prices = await page.locator(".chart:nth-child(2) tbody th").allTextContents();
    assert.deepEqual(prices, ["coffee · average", "coffee · least", "coffee · most"]);
    await page.waitForFunction(() => /^[23]\.\d{1,2}$/.test(document.querySelector(".chart:nth-child(2) tbody td").textContent));
    await close(page);
  });

  test("has no barrier, in either colour, language and width", async () => {
    const looks = [{ colorScheme: "light" }, { colorScheme: "dark", locale: "ja-JP", viewport: { width: 390, height: 844 } }];
    for (const look of looks) {
      const page = await open(look);
      assert.deepEqual(await barriers(page), []);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "it is too wide");
      if (look.locale) assert.equal(await page.textContent("h1"), "店の売れ行き");
      // Whoever has no mouse comes to everything that scrolls.
      await page.keyboard.press("Tab");
      assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
      await close(page);
    }
  });
});
