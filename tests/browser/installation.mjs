// Starts and stops Balcony, embedded or as separate services, for a browser.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const BALCONY = process.env.BALCONY;
const SECRET = "a secret for browser tests, of 32 bytes or more";
const PATIENCE = 60_000;

/** The deployments that can be tested here. */
export function deployments() {
  const { KAFKA_BOOTSTRAP_SERVERS, DATABASE_URL, CI } = process.env;
  if (KAFKA_BOOTSTRAP_SERVERS && DATABASE_URL) return ["embedded", "distributed"];
  if (CI) throw new Error("KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL are missing, and CI is set");
  console.error("left out: the distributed half, for want of KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL");
  return ["embedded"];
}

/** Waits until `look` gives something. */
export async function eventually(what, look, patience = PATIENCE) {
  const end = Date.now() + patience;
  for (;;) {
    const found = await look().catch(() => null);
    if (found) return found;
    if (Date.now() > end) throw new Error(`in vain: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

/** A port that nobody listens on. */
export function freePort() {
  return new Promise(resolve => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A record that should be an event and is not, at `position` of the log, as an export has it. */
export function broken(position, key) {
  const base64 = text => Buffer.from(text).toString("base64");
  const headers = { ce_specversion: "1.0", ce_id: "broken", ce_source: "/balcony", ce_type: "balcony.movie.registered.v1",
    ce_time: "2026-01-01T00:00:00.000Z", "content-type": "application/json" };
  return {
    specversion: "1.0", id: position, source: "/balcony", type: "balcony.log.record.v1", balconyposition: position,
    datacontenttype: "application/json",
    data: { key: base64(key), headers: Object.entries(headers).map(([name, value]) => [name, base64(value)]), payload: base64("{\"movie_id\":") },
  };
}

export class Installation {
  /** A running installation whose log begins with `lines`, as an export has them. */
  static async start(kind, lines = []) {
    const it = new Installation();
    it.folder = mkdtempSync(join(tmpdir(), "balcony-browser."));
    const [everything, commands, queries, projector] = [await freePort(), await freePort(), await freePort(), await freePort()];
    const url = port => `http://127.0.0.1:${port}`;
    it.processes = new Map();
    it.settings = { PATH: process.env.PATH, DATA_DIR: join(it.folder, "data"), JWT_SECRET: SECRET };
    if (kind === "distributed") {
      const { KAFKA_BOOTSTRAP_SERVERS, DATABASE_URL } = process.env;
      const namespace = `b${Date.now().toString(36)}${Math.floor(Math.random() * 1e6).toString(36)}`;
      Object.assign(it.settings, { KAFKA_BOOTSTRAP_SERVERS, DATABASE_URL, NAMESPACE: namespace });
      it.page = url(queries);
      it.commands = url(commands);
      it.services = [
        ["projector", projector, {}],
        ["command-api", commands, { CORS_ORIGINS: it.page, QUERY_API_URL: it.page }],
        ["query-api", queries, { COMMAND_API_URL: it.commands }],
      ];
    } else {
      it.page = it.commands = url(everything);
      it.services = [["", everything, {}]];
    }
    if (lines.length) it.run(["import"], lines.map(line => JSON.stringify(line) + "\n").join(""));
    for (const [service] of it.services) it.startService(service);
    await it.ready();
    return it;
  }

  startService(name) {
    const [, port, more] = this.services.find(([service]) => service === name);
    const env = { ...this.settings, ...more, LISTEN: `127.0.0.1:${port}`, RUST_LOG: "warn" };
    const child = spawn(BALCONY, name ? [name] : [], { env, stdio: ["ignore", "ignore", "inherit"] });
    this.processes.set(name, child);
  }

  /** Stops the service that serves the page, and starts it again. */
  async restartPage(meanwhile) {
    const name = this.services.at(-1)[0];
    const child = this.processes.get(name);
    const ended = new Promise(resolve => child.once("exit", resolve));
    child.kill("SIGTERM");
    await ended;
    await meanwhile();
    this.startService(name);
    await this.ready();
  }

  ready() {
    const urls = this.services.map(([, port]) => `http://127.0.0.1:${port}/readyz`);
    return eventually("it is ready", async () => (await Promise.all(urls.map(url => fetch(url)))).every(answer => answer.ok));
  }

  run(args, input = "") {
    return execFileSync(BALCONY, args, { env: this.settings, input, encoding: "utf8", stdio: ["pipe", "pipe", "pipe"] });
  }

  token(user, role = "user") {
    return this.run(["token", "--user", user, "--role", role]).trim();
  }

  /** A command with a token; gives the answer's JSON and remembers what it stands for. */
  async command(token, method, path, body) {
    const headers = { Authorization: `Bearer ${token}` };
    if (body) headers["Content-Type"] = "application/json";
    const answer = await fetch(this.commands + path, { method, headers, body: body && JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    this.seen = answer.headers.get("Consistency-Token");
    return answer.status === 201 ? answer.json() : null;
  }

  /** Waits until a reader sees what was commanded last. */
  async settled(path) {
    const headers = { "Consistency-Token": this.seen };
    await eventually(`${path} shows what was commanded`, async () => (await fetch(`${this.page}${path}`, { headers })).ok);
  }

  async stop() {
    for (const child of this.processes.values()) {
      if (child.exitCode !== null) continue;
      const ended = new Promise(resolve => child.once("exit", resolve));
      child.kill("SIGTERM");
      await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
