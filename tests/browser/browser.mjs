// A browser that notes whatever a page does that it should not.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
}

/** A tab of its own, with who is signed in, and the list of what went wrong in it. */
export async function tab(browser, installation, { token, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-US", ...options });
  const page = await context.newPage();
  page.faults = [];
  const known = [installation.page, installation.commands];
  page.on("console", message => {
    if (message.type() === "error") page.faults.push(`console: ${message.text()} ${message.location().url}`);
  });
  page.on("pageerror", error => page.faults.push(`script: ${error.message}`));
  page.on("request", request => {
    const isKnown = known.some(origin => request.url().startsWith(`${origin}/`)) || request.url().startsWith("data:");
    if (!isKnown) page.faults.push(`asked another host: ${request.url()}`);
  });
  if (token) await page.addInitScript(token => sessionStorage.setItem("token", token), token);
  return page;
}

/** A tab of its own at `path`. */
export async function open(browser, installation, path, options) {
  const page = await tab(browser, installation, options);
  await page.goto(installation.page + path);
  return page;
}

/** Ends the tab, in which nothing else may have gone wrong than what holds one of these texts: the browser notes each refusal by itself. */
export async function close(page, ...expected) {
  const isExpected = fault => expected.some(text => fault.includes(text));
  assert.deepEqual(page.faults.filter(fault => !isExpected(fault)), []);
  await page.context().close();
}

/** What axe finds on the page as it is. */
export async function barriers(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => axe.run());
  return found.violations.map(violation => `${violation.id}: ${violation.nodes.map(node => node.html).join(" ").slice(0, 300)}`);
}
