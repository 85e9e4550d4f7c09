// The pictures of docs/pictures, from the running product with its demonstration.

import { spawn } from "node:child_process";
import { launch, tab } from "./browser.mjs";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { Installation, eventually, freePort } from "./installation.mjs";

/** The page of hippo, once its demonstration has run. */
async function hippo(browser) {
  const folder = mkdtempSync(`${tmpdir()}/hippo-`);
  const page = `http://127.0.0.1:${await freePort()}/`;
  const settings = { PATH: process.env.PATH, LISTEN: page.slice(7, -1), DATA_DIR: `${folder}/data` };
  const program = spawn(process.env.HIPPO, ["--config", `${EXAMPLES}hippo/hippo.toml`], { env: settings, stdio: "ignore" });
  const context = await browser.newContext({ viewport: { width: 1000, height: 320 } });
  try {
    await eventually("every step has ended both jobs", async () => {
      const html = await fetch(page).then(answer => answer.text()).catch(() => "");
      return html.match(/<td>2<\/td><td>0<\/td>/g)?.length === 3;
    });
    const shown = await context.newPage();
    await shown.goto(page);
    await shown.screenshot({ path: `${EXAMPLES}hippo/page.png` });
  } finally {
    await context.close();
    program.kill();
    await once(program, "exit");
    rmSync(folder, { recursive: true });
  }
}

const EXAMPLES = new URL("../../examples/", import.meta.url).pathname;
const PLACE = new URL("../../docs/pictures/", import.meta.url).pathname;
const it = await Installation.start("embedded");
const demo = spawn(process.env.BALCONY, ["demo", "--url", it.page], { env: it.settings, stdio: "ignore" });
const browser = await launch();
try {
  const [admin, mia] = [it.token("admin", "admin"), it.token("mia")];
  const { items } = await eventually("there are comments", async () => {
    const list = await (await fetch(`${it.page}/v1/comments?limit=100`)).json();
    return list.items.length === 100 && list;
  });
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
    await control.waitForTimeout(20_000);
    await control.screenshot({ path: `${PLACE}control-room-${name}.png` });
    await page.context().close();
    await control.context().close();
  }
  if (existsSync(process.env.HIPPO)) await hippo(browser);
} finally {
  demo.kill();
  await browser.close();
  await it.stop();
}
