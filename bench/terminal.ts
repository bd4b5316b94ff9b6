/**
 * A terminal on an agent (client, API, agent, PTY) against node-pty and ws with nothing between them, which has a hop
 * less: bytes a second of a program that only prints, and the time from a key to its echo.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import WebSocket from 'ws';
import type { Installation } from './installation.ts';
import { type Figures, figuresOf } from './statistics.ts';

const MEBIBYTE = 1024 * 1024;
/** Keys of each contender before any is counted: servers run for days, the compilers of theirs want some thousand. */
const WARM_UP_KEYS = 2_000;

export interface TerminalFigures {
  mebibytes: number;
  ours: { mebibytesPerSecond: number[]; echoMs: Figures & { p99: number } };
  peer: { mebibytesPerSecond: number[]; echoMs: Figures & { p99: number } };
  throughputRatio: number;
  echoP50Ratio: number;
  echoP99Ratio: number;
}

/** A client that knows how many bytes came, and can wait for them. */
interface Client {
  write(text: string): void;
  /** Resolves when so many bytes came since this was called. */
  bytes(count: number): Promise<void>;
  /** Resolves when this text came. */
  text(wanted: string): Promise<void>;
  close(): void;
}

async function connect(url: string, token?: string): Promise<Client> {
  const ws = new WebSocket(url, {
    perMessageDeflate: false,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
  });
  let total = 0;
  let acked = 0;
  let onData: (data: Buffer) => void = () => undefined;
  const opened = new Promise<void>((resolve, reject) => {
    ws.on('error', reject);
    if (token === undefined) ws.on('open', () => resolve());
    ws.on('message', (data, isBinary) => {
      if (!Buffer.isBuffer(data)) return;
      if (!isBinary && token !== undefined) {
        const frame = JSON.parse(data.toString());
        if (frame.type === 'ready') return resolve();
        if (frame.type === 'error') reject(new Error(JSON.stringify(frame)));
        return;
      }
      total += data.length;
      if (token !== undefined && total - acked >= 64 * 1024) {
        acked = total;
        ws.send(JSON.stringify({ type: 'ack', data: { offset: total } }));
      }
      onData(data);
    });
  });
  await opened;
  return {
    write: (text) => ws.send(Buffer.from(text)),
    bytes: (count) =>
      new Promise((resolve) => {
        const wanted = total + count;
        onData = () => {
          if (total >= wanted) resolve();
        };
      }),
    text: (wanted) =>
      new Promise((resolve) => {
        let seen = '';
        onData = (data) => {
          seen = (seen + data.toString()).slice(-1_000);
          if (seen.includes(wanted)) resolve();
        };
      }),
    close: () => ws.close(),
  };
}

/** Raw mode without echo, so that what is printed is what is counted. */
async function printing(client: Client, file: string, bytes: number): Promise<number> {
  const ready = client.text('>begin<');
  client.write("stty raw -echo; printf '>%s<' begin; read go\n");
  await ready;
  const done = client.bytes(bytes);
  const start = performance.now();
  client.write(`\ncat ${file}\n`);
  await done;
  return (performance.now() - start) / 1_000;
}

/** The kernel's own echo of a line that `cat` waits for. */
async function echoing(client: Client, samples: number): Promise<number[]> {
  const ready = client.text('>begin<');
  client.write("printf '>%s<' begin; exec cat > /dev/null\n");
  await ready;
  const times: number[] = [];
  for (let i = 0; i < samples; i++) {
    const echoed = client.bytes(1);
    const start = performance.now();
    client.write(i % 50 === 49 ? '\n' : 'x');
    await echoed;
    times.push(performance.now() - start);
    // The newline's echo is two bytes.
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return times;
}

const withP99 = (samples: number[]): Figures & { p99: number } => {
  const sorted = [...samples].sort((a, b) => a - b);
  return { ...figuresOf(samples), p99: sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN };
};

export async function benchTerminals(
  installation: Installation,
  report: (what: string) => void,
  scale: { rounds: number; mebibytes: number; samples: number },
): Promise<TerminalFigures> {
  const folder = await mkdtemp(join(tmpdir(), 'steelthread-terminal-bench-'));
  const file = join(folder, 'lines');
  const bytes = scale.mebibytes * MEBIBYTE;
  await writeFile(file, Buffer.alloc(bytes, `${'0123456789'.repeat(7)}abcdefghi\n`));
  const { enrolmentToken } = await installation.call<{ enrolmentToken: string }>(
    'POST',
    '/v1/agents/enrolments',
    {},
  );
  const agent = await installation.call<{ agentId: string; agentToken: string }>('POST', '/v1/agents/enrol', {
    enrolmentToken,
    hostname: 'terminals',
  });
  const env = {
    STEELTHREAD_URL: installation.url,
    AGENT_ID: agent.agentId,
    AGENT_TOKEN: agent.agentToken,
    AGENT_HOME: join(folder, 'agent'),
  };
  await installation.startPeer('terminal-agent', env, /terminal_agent_ready/);
  const peerUrl = (await installation.startPeer('pty-peer', {}, /pty_peer_ready (\S+)/))?.[1] ?? '';
  const ourUrl = `${installation.url.replace('http', 'ws')}/ws/terminal?binary=1&agent_id=${agent.agentId}`;
  const contenders = {
    peer: () => connect(peerUrl),
    ours: () => connect(ourUrl, installation.token),
  };
  const speeds = { ours: [] as number[], peer: [] as number[] };
  const echoes = { ours: [] as number[], peer: [] as number[] };
  try {
    for (let round = -1; round < scale.rounds; round++) {
      report(round < 0 ? 'terminals: warming up' : `terminals: round ${round + 1} of ${scale.rounds}`);
      for (const name of ['peer', 'ours'] as const) {
        const printer = await contenders[name]();
        const seconds = await printing(printer, file, bytes);
        printer.close();
        const typist = await contenders[name]();
        const times = await echoing(typist, round < 0 ? WARM_UP_KEYS : scale.samples);
        typist.close();
        if (round < 0) continue;
        speeds[name].push(scale.mebibytes / seconds);
        echoes[name].push(...times);
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const ours = { mebibytesPerSecond: speeds.ours, echoMs: withP99(echoes.ours) };
  const peer = { mebibytesPerSecond: speeds.peer, echoMs: withP99(echoes.peer) };
  return {
    mebibytes: scale.mebibytes,
    ours,
    peer,
    throughputRatio: figuresOf(speeds.ours).p50 / figuresOf(speeds.peer).p50,
    echoP50Ratio: ours.echoMs.p50 / peer.echoMs.p50,
    echoP99Ratio: ours.echoMs.p99 / peer.echoMs.p99,
  };
}
