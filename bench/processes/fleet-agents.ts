/**
 * Simulated agents, thousands in one process: protocol v1 over real sockets with credentials of their own, a journal in
 * memory, and no programs. They come back as real agents do (agent/connection.ts, agent/backoff.ts). Told what to do
 * over HTTP on the port of the ready line. Environment: FLEET_URL, FLEET_FILE (JSON: [{agentId, token}]).
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import WebSocket from 'ws';
import { backoffDelayMs, defaultBackoff, type EndCause } from '../../agent/backoff.ts';
import { WELCOME_DEADLINE_MS } from '../../agent/connection.ts';
import { PRESENCE_INTERVAL_MS, PROTOCOL_VERSION, type RunFrame } from '../../contracts/agent-protocol.ts';

/** Heartbeats leave in so many groups per interval. */
const HEARTBEAT_GROUPS = 300;
const EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

const { FLEET_URL = '', FLEET_FILE: file } = process.env;
if (FLEET_URL === '' || file === undefined) throw new Error('FLEET_URL and FLEET_FILE are needed');
const url = `${FLEET_URL.replace('http', 'ws')}/v1/agent`;
const identities = JSON.parse(readFileSync(file, 'utf8')) as { agentId: string; token: string }[];

/** What happened since the last reset. */
const counts = { heartbeats: 0, attempts: 0, welcomes: 0, lost: 0, failedAttempts: 0, runs: 0 };
let isWanted = false;
let connected = 0;
let onAllConnected: (() => void) | undefined;

interface Agent {
  /** One attempt; what ends without being asked is tried again as a real agent would. */
  connect(): Promise<void>;
  beat(): void;
  end(): void;
}

function createAgent({ agentId, token }: { agentId: string; token: string }): Agent {
  const journalId = randomUUID();
  const results = new Map<string, string>();
  let journalSeq = 0;
  let socket: WebSocket | undefined;
  let failures = 0;
  let isOpen = false;

  const hello = (): string =>
    JSON.stringify({
      ...{ type: 'hello', protocol: PROTOCOL_VERSION, agentId, journalId, journalSeq, delivery: 'websocket' },
      ...{ hostname: agentId, os: 'Simulated Linux 6.1', arch: 'x64', version: '0.1.0' },
      ...{ capabilities: ['shell', 'argv', 'metrics'], shells: ['bash', 'sh'], defaultShell: 'sh' },
    });

  const answer = (ws: WebSocket, run: RunFrame): void => {
    const { commandId, digest } = run;
    const known = results.get(commandId);
    if (known !== undefined) return ws.send(known);
    if (run.resume) return ws.send(JSON.stringify({ type: 'notKnown', commandId }));
    counts.runs += 1;
    journalSeq += 3;
    const at = new Date().toISOString();
    const stream = { bytes: 0, totalBytes: 0, sha256: EMPTY_SHA256, truncated: false };
    const result = JSON.stringify({
      ...{ type: 'result', commandId, digest, outcome: 'succeeded', exitCode: 0, signal: null, reason: null },
      ...{ startedAt: at, finishedAt: at, durationMs: 1, stdout: stream, stderr: stream },
    });
    results.set(commandId, result);
    ws.send(JSON.stringify({ type: 'started', commandId, digest, pid: 1, startedAt: at }));
    ws.send(result);
  };

  const connect = (): Promise<void> =>
    new Promise((resolve) => {
      counts.attempts += 1;
      const ws = new WebSocket(url, {
        headers: { authorization: `Bearer ${token}` },
        perMessageDeflate: false,
        handshakeTimeout: WELCOME_DEADLINE_MS,
      });
      socket = ws;
      let cause: EndCause = 'unreachable';
      const deadline = setTimeout(() => ws.terminate(), WELCOME_DEADLINE_MS);
      ws.on('open', () => ws.send(hello()));
      ws.on('message', (data) => {
        const frame = JSON.parse(data.toString());
        if (frame.type === 'run') return answer(ws, frame);
        if (frame.type === 'resultAck') return void results.delete(frame.commandId);
        if (frame.type !== 'welcome') return;
        clearTimeout(deadline);
        isOpen = true;
        failures = 0;
        connected += 1;
        counts.welcomes += 1;
        resolve();
        if (connected === identities.length) onAllConnected?.();
      });
      ws.on('error', () => undefined);
      ws.on('close', (code) => {
        clearTimeout(deadline);
        if (code !== 1006) cause = code;
        if (socket !== ws) return;
        if (isOpen) {
          isOpen = false;
          connected -= 1;
          if (isWanted) counts.lost += 1;
        } else if (isWanted) counts.failedAttempts += 1;
        resolve();
        if (!isWanted) return;
        setTimeout(() => void (isWanted && connect()), backoffDelayMs(failures, cause, defaultBackoff));
        failures += 1;
      });
    });

  return {
    connect,
    beat() {
      if (!isOpen) return;
      counts.heartbeats += 1;
      socket?.send(
        JSON.stringify({
          ...{ type: 'presence', journalSeq, running: 0 },
          metrics: {
            ...{ cpuPercent: Math.round(Math.random() * 1000) / 10, loadAverage: 0.4 },
            ...{ memoryTotalBytes: 16e9, memoryUsedBytes: 4e9 + Math.round(Math.random() * 1e9) },
            disks: [
              { mount: '/', totalBytes: 100e9, usedBytes: 40e9 },
              { mount: '/var', totalBytes: 200e9, usedBytes: 50e9 },
            ],
            ...{ networkReceivedBytes: 1e9, networkSentBytes: 1e8, processCount: 180, uptimeSeconds: 86_400 },
          },
        }),
      );
    },
    end() {
      const ws = socket;
      socket = undefined;
      if (isOpen) connected -= 1;
      isOpen = false;
      ws?.terminate();
    },
  };
}

const agents = identities.map(createAgent);

let group = 0;
const beats = setInterval(() => {
  for (let at = group; at < agents.length; at += HEARTBEAT_GROUPS) agents[at]?.beat();
  group = (group + 1) % HEARTBEAT_GROUPS;
}, PRESENCE_INTERVAL_MS / HEARTBEAT_GROUPS);

/** Resolves when every agent has its welcome, however often some had to try. */
const whenAllConnected = (): Promise<void> =>
  connected === agents.length
    ? Promise.resolve()
    : new Promise((resolve) => {
        onAllConnected = resolve;
      });

const orders: Record<string, () => Promise<object>> = {
  /** Connect, so many at a time. */
  async connect() {
    isWanted = true;
    const waiting = agents.values();
    const lane = async (): Promise<void> => {
      for (const agent of waiting) await agent.connect();
    };
    await Promise.all(Array.from({ length: 64 }, lane));
    await whenAllConnected();
    return {};
  },
  /** All sockets are cut in one moment, and every agent dials again in the next, without a pause. */
  async storm() {
    for (const agent of agents) agent.end();
    Object.assign(counts, { attempts: 0, welcomes: 0, lost: 0, failedAttempts: 0 });
    const start = performance.now();
    const times: number[] = [];
    const first = agents.map((agent) =>
      agent.connect().then(() => void times.push(performance.now() - start)),
    );
    await Promise.all(first);
    await whenAllConnected();
    times.sort((a, b) => a - b);
    return { ms: performance.now() - start, medianMs: times[times.length >> 1] };
  },
  async stats() {
    return {};
  },
  async reset() {
    for (const name of Object.keys(counts)) Object.assign(counts, { [name]: 0 });
    return {};
  },
  async disconnect() {
    isWanted = false;
    for (const agent of agents) agent.end();
    return {};
  },
};

const control = createServer((request, response) => {
  const order = orders[(request.url ?? '').slice(1)];
  if (order === undefined) return void response.writeHead(404).end();
  void order().then((told) => response.end(JSON.stringify({ connected, ...counts, ...told })));
});
control.requestTimeout = 0;
control.listen(0, '127.0.0.1', () =>
  console.log(`fleet_agents_ready ${(control.address() as AddressInfo).port}`),
);
process.on('SIGTERM', () => {
  clearInterval(beats);
  isWanted = false;
  process.exit();
});
