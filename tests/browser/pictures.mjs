// The pictures of docs/pictures, from the running product with its demonstration, and those of the examples' pages.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { launch, tab } from "./browser.mjs";
import { REPOSITORY, eachExample } from "./examples.mjs";
import { Installation, eventually } from "./installation.mjs";

const PLACE = `${REPOSITORY}docs/pictures/`;

/** The page of each example that is built, wide, and as it is on a phone at night. */
async function examples(browser) {
  const looks = {
    page: { viewport: { width: 1100, height: 640 } },
    "page-phone": { viewport: { width: 390, height: 844 }, colorScheme: "dark" },
  };
  await eachExample(process.env.BUILT, async (name, page, drawn) => {
    for (const [look, options] of Object.entries(looks)) {
      const context = await browser.newContext({ locale: "en-US", ...options });
      const shown = await context.newPage();
      await shown.goto(page);
      await shown.waitForSelector(drawn);
      await shown.screenshot({ path: `${REPOSITORY}examples/${name}/${look}.png` });
      await context.close();
    }
  });
}

/** Both rooms of Balcony, with its demonstration. */
async function rooms(browser) {
  const it = await Installation.start("embedded");
  const demo = spawn(process.env.BALCONY, ["demo", "--url", it.page, "--actions", "1000000"], { env: it.settings, stdio: "ignore" });
  try {
    const [admin, mia] = [it.token("admin", "admin"), it.token("mia")];
    const { items } = await eventually("there are comments", async () => {
      const list = await (await fetch(`${it.page}/v1/comments?limit=100`)).json();
      return list.items.length === 100 && list;
    });
    // Something is to be trending before anything is pictured.
    await new Promise(resolve => setTimeout(resolve, 30_000));
    const movie = items[0].movie.id;
    const looks = {
      wide: {},
      phone: { viewport: { width: 390, height: 844 }, locale: "ja-JP" },
      dark: { colorScheme: "dark" },
    };
    for (const [name, look] of Object.entries(looks)) {
      const page = await tab(browser, it, { token: mia, ...look });
      await page.goto(`${it.page}/`);
      await page.waitForSelector("#who a");
      await page.screenshot({ path: `${PLACE}reading-room-${name}.png` });
      await page.goto(`${it.page}/movies/${movie}`);
      await page.waitForSelector("#write:not([hidden])");
      await page.screenshot({ path: `${PLACE}movie-${name}.png` });
      const control = await tab(browser, it, { token: admin, ...look });
      await control.goto(`${it.page}/control`);
      await control.waitForFunction(() => document.querySelectorAll("#chart canvas").length > 0);
      await control.selectOption("#figure", "rate");
      await control.waitForTimeout(40_000);
      await control.screenshot({ path: `${PLACE}control-room-${name}.png` });
      await page.context().close();
      await control.context().close();
    }
  } finally {
    demo.kill();
    await it.stop();
  }
}

const browser = await launch();
try {
  if (existsSync(process.env.BALCONY)) await rooms(browser);
  await examples(browser);
} finally {
  await browser.close();
}
