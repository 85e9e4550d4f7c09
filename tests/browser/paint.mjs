// When each page is painted first on a throttled phone, and how much script it loads: a table for docs/performance.md.

import { spawn } from "node:child_process";
import { launch } from "./browser.mjs";
import { Installation, eventually } from "./installation.mjs";

/** A phone on a slow mobile network, as Lighthouse has it: a request takes 150 ms longer, and 1.6 Mbit come a second. */
const NETWORK = { offline: false, latency: 150, downloadThroughput: 1.6e6 / 8, uploadThroughput: 0.75e6 / 8 };
const PROCESSOR = 4;
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 3, isMobile: true, hasTouch: true, locale: "en-US" };
const ROUNDS = 5;

/** What one visit by a browser that was never here gives. */
async function visit(browser, url, token) {
  const context = await browser.newContext(PHONE);
  const page = await context.newPage();
  if (token) await page.addInitScript(token => sessionStorage.setItem("token", token), token);
  const chrome = await context.newCDPSession(page);
  await chrome.send("Network.enable");
  await chrome.send("Network.emulateNetworkConditions", NETWORK);
  await chrome.send("Emulation.setCPUThrottlingRate", { rate: PROCESSOR });
  await page.goto(url, { waitUntil: "load" });
  const paints = await eventually("it is painted", () => page.evaluate(() => {
    const found = Object.fromEntries(performance.getEntriesByType("paint").map(paint => [paint.name, paint.startTime]));
    return found["first-contentful-paint"] && found;
  }));
  const loaded = await page.evaluate(() => performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"))
    .map(({ initiatorType, decodedBodySize }) => [initiatorType, decodedBodySize]));
  await context.close();
  const sum = of => loaded.filter(([type]) => of(type)).reduce((all, [, bytes]) => all + bytes, 0) / 1024;
  return { paint: paints["first-contentful-paint"], script: sum(type => type === "script"), all: sum(() => true) };
}

const median = values => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

const it = await Installation.start("embedded");
const demo = spawn(process.env.BALCONY, ["demo", "--url", it.page], { env: it.settings, stdio: "ignore" });
const browser = await launch();
try {
  const { items } = await eventually("there are comments", async () => {
    const list = await (await fetch(`${it.page}/v1/comments?limit=100`)).json();
    return list.items.length === 100 && list;
  });
  demo.kill();
  const pages = [
    ["the timeline", "/", null],
    ["a movie", `/movies/${items[0].movie.id}`, null],
    ["a person", `/people/${items[0].author.id}`, null],
    ["a search", "/search?q=the", null],
    ["the control room", "/control", it.token("admin", "admin")],
  ];
  console.log("| page | first paint ms | KiB of script | KiB in all |\n|---|---|---|---|");
  for (const [name, path, token] of pages) {
    const visits = [];
    for (let round = 0; round < ROUNDS; round++) visits.push(await visit(browser, it.page + path, token));
    const of = key => median(visits.map(visit => visit[key])).toFixed(0);
    console.log(`| ${name} | ${of("paint")} | ${of("script")} | ${of("all")} |`);
  }
} finally {
  demo.kill();
  await browser.close();
  await it.stop();
}
