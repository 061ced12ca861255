#!/usr/bin/env node
// A worker that performs four runs at once: each imports data.pages pages, tells how far it is, and goes on
// from its checkpoint when it is run again. Needs nothing but Node.
//
// A node starts it (a pool of the setting `pools`), or it connects to one: ROTA_WORKER_SOCKET is unix:/path or
// host:port, several with commas between; over TCP it says the token in ROTA_WORKER_TOKEN. Connected, it gets
// neither exclusive runs nor cluster locks, as it does not promise to stop at the end of the node's lease.
"use strict";

const net = require("node:net");
const readline = require("node:readline");

const SLOTS = 4;
const runs = new Map();
const locks = new Map();
let lastRef = 0;

class Cancelled extends Error {}
class BadData extends Error {}

class Run {
  constructor(message, output) {
    this.ids = { id: message.id, fence: message.fence };
    this.data = message.data;
    this.checkpoint = message.checkpoint || {};
    this.output = output; // of its connection: on another one nobody waits for its answer
    this.cancelled = new Promise((resolve) => { this.cancel = resolve; });
  }

  say(type, members) {
    say(this.output, { type, ...this.ids, ...members });
  }

  // The promise, unless the run is cancelled before.
  async unlessCancelled(promise) {
    await Promise.race([promise, this.cancelled.then(() => { throw new Cancelled(); })]);
    return promise;
  }

  // A cluster lock that ends with the run; its fence.
  async lock(name, wait = "30s") {
    const ref = ++lastRef;
    const answer = new Promise((resolve) => locks.set(ref, resolve));
    this.say("lock", { ref, name, wait });
    try {
      const told = await this.unlessCancelled(answer);
      if (told.type !== "locked") throw new Error(told.message);
      return told.fence;
    } finally {
      locks.delete(ref);
    }
  }
}

function say(output, message) {
  if (output.writable) output.write(JSON.stringify(message) + "\n");
}

// The work itself: what it returns stands in the history.
async function importPages(run) {
  const { pages, page_ms: pause = 10, bad_page: bad, lock } = run.data;
  if (!Number.isInteger(pages)) throw new BadData("data.pages must be a number");
  const details = { pages, from: run.checkpoint.page || 0 };
  if (lock !== undefined) details.fence = await run.lock(lock);
  for (let page = details.from; page < pages; page++) {
    if (page === bad) throw new BadData(`page ${page} cannot be read`);
    await run.unlessCancelled(new Promise((resolve) => { setTimeout(resolve, pause); }));
    run.say("checkpoint", { data: { page: page + 1 } });
    run.say("progress", { fraction: (page + 1) / pages, message: `page ${page + 1} of ${pages}` });
  }
  run.say("log", { level: "info", message: `${pages} pages are there` });
  return details;
}

async function perform(run) {
  try {
    run.say("done", { details: await importPages(run) });
  } catch (error) {
    // the node knows from `retry` whether another attempt makes sense
    run.say("fail", { exception: error.constructor.name, message: error.message || "stopped as it was told to",
                      stacktrace: (error.stack || "").split("\n").slice(0, 20), retry: !(error instanceof BadData) });
  } finally {
    if (runs.get(run.ids.id) === run) runs.delete(run.ids.id);
  }
}

function hear(message, output) {
  if (message.type === "run") {
    const run = new Run(message, output);
    runs.set(message.id, run);
    perform(run);
  } else if (message.type === "cancel" && runs.has(message.id)) {
    runs.get(message.id).cancel();
  } else if ((message.type === "locked" || message.type === "lock_failed") && locks.has(message.ref)) {
    locks.get(message.ref)(message);
  } else if (message.type === "refused") {
    console.error("pages.js: the node refuses:", message.reason);
  } // welcome, drain, lease, lock_lost, and what later versions say
}

// Until the node closes the connection.
async function serve(input, output, more) {
  say(output, { type: "hello", protocol: 1, handlers: ["import-pages"], slots: SLOTS, name: "pages.js", ...more });
  for await (const line of readline.createInterface({ input, crlfDelay: Infinity })) hear(JSON.parse(line), output);
  for (const run of runs.values()) run.cancel();
  runs.clear();
}

function connect(address) {
  if (address.startsWith("unix:")) return net.createConnection(address.slice("unix:".length));
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replace(/^\[|\]$/g, "");
  return net.createConnection({ host, port: Number(address.slice(colon + 1)), keepAlive: true, noDelay: true });
}

async function visit(address) {
  const connection = connect(address);
  await new Promise((resolve, reject) => { connection.once("connect", resolve).once("error", reject); });
  connection.on("error", () => {}); // the end of its lines follows
  const token = address.startsWith("unix:") ? {} : { token: process.env.ROTA_WORKER_TOKEN || "" };
  await serve(connection, connection, token);
  connection.destroy();
}

async function main() {
  const addresses = process.env.ROTA_WORKER_SOCKET;
  console.log = console.error; // standard output is the protocol's
  if (!addresses) return serve(process.stdin, process.stdout, {});
  for (let wait = 100, at = 0; ; at++) {
    const address = addresses.split(",")[at % addresses.split(",").length];
    const begun = Date.now();
    await visit(address).catch((error) => console.error(`pages.js: ${address}: ${error.message}`));
    wait = Date.now() - begun > 5000 ? 100 : Math.min(wait * 2, 5000);
    await new Promise((resolve) => { setTimeout(resolve, wait); });
  }
}

main();
