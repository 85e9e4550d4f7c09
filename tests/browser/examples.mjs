// The examples, running with something to show, for pictures of their pages.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, freePort } from "./installation.mjs";

export const REPOSITORY = new URL("../../", import.meta.url).pathname;

/**
 * What each example is given first, what it runs with beside its page (`{file}` is a file of its own), when there is something to
 * see, and what is waited for in the page.
 */
const EXAMPLES = {
  "word-count": {
    first: ["add", `${REPOSITORY}LICENSE`],
    serve: [],
    shows: async page => (await text(page)).split("\n").length > 20,
    drawn: "pre",
  },
  "coffee-orders": {
    beside: ["generate", "--file", "{file}", "--rate", "40", "--seed", "1"],
    serve: ["serve", "--file", "{file}"],
    shows: page => windows(page, "orders?dimension=payment-method&window=10s&limit=100", 8),
    drawn: "canvas",
  },
  "shop-behaviour": {
    serve: ["--speedup", "0"],
    shows: page => windows(page, "ranges?dimension=view&window=1h&limit=100", 5),
    drawn: "canvas",
  },
  hippo: {
    serve: ["--config", `${REPOSITORY}examples/hippo/hippo.toml`],
    shows: async page => (await text(page)).match(/<td>2<\/td><td>0<\/td>/g)?.length === 3,
    drawn: "table",
  },
};

async function text(url) {
  return (await fetch(url)).text();
}

/** Whether a stream has so many windows. */
async function windows(page, stream, number) {
  const { items } = JSON.parse(await text(`${page}v1/stats/${stream}`));
  return new Set(items.map(item => item.window_start)).size >= number;
}

/** Calls `look` with the page of each example that is built in `folder`, once it has something to show. */
export async function eachExample(folder, look) {
  for (const [name, example] of Object.entries(EXAMPLES)) {
    const program = join(folder, name);
    if (!existsSync(program)) continue;
    const place = mkdtempSync(join(tmpdir(), `${name}-`));
    const page = `http://127.0.0.1:${await freePort()}/`;
    const env = { PATH: process.env.PATH, LISTEN: page.slice(7, -1), DATA_DIR: join(place, "data"), RUST_LOG: "warn" };
    const run = command => spawn(program, command.map(word => word.replace("{file}", join(place, "file"))), { env, stdio: "ignore" });
    if (example.first) execFileSync(program, example.first, { env, stdio: "ignore" });
    const running = [example.beside, example.serve].filter(Boolean).map(run);
    try {
      await eventually(`${name} has something to show`, () => example.shows(page), 180_000);
      await look(name, page, example.drawn);
    } finally {
      for (const child of running) {
        child.kill();
        await once(child, "exit");
      }
      rmSync(place, { recursive: true });
    }
  }
}
