/**
 * A terminal on an agent (client, API, agent, PTY) against node-pty and ws with nothing between them, which has a hop
 * less: bytes a second of a program that only prints, and the time from a key to its echo.
 *
 * Prints take turns, and so do keys, in small blocks with both terminals open: whatever else the machine does meets both.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Installation } from './installation.ts';
import type { ClientAnswer, ClientOrder, Contender } from './processes/terminal-client.ts';
import { type Figures, figuresOf } from './statistics.ts';

const MEBIBYTE = 1024 * 1024;
/** Keys of each contender before any is counted: servers run for days, the compilers of theirs want some thousand. */
const WARM_UP_KEYS = 2_000;
/** Keys in a row of one contender. */
const BLOCK_KEYS = 50;
const contenderNames = ['peer', 'ours'] as const;
type ContenderName = (typeof contenderNames)[number];

interface ContenderFigures {
  mebibytesPerSecond: number[];
  echoMs: Figures & { p99: number };
}

export interface TerminalFigures {
  mebibytes: number;
  ours: ContenderFigures;
  peer: ContenderFigures;
  throughputRatio: number;
  echoP50Ratio: number;
  echoP99Ratio: number;
}

interface TerminalClient {
  ask(order: ClientOrder): Promise<number[]>;
  close(): void;
}

/** The program bench/processes/terminal-client.ts, which is asked one thing at a time. */
function startClient(): TerminalClient {
  const program = fileURLToPath(new URL('./processes/terminal-client.ts', import.meta.url));
  const child = fork(program, { execArgv: ['--import', 'tsx'], serialization: 'advanced' });
  const ended = once(child, 'exit').then((): ClientAnswer => ({ error: 'the client has ended' }));
  return {
    async ask(order) {
      const answered = once(child, 'message').then(([answer]): ClientAnswer => answer);
      child.send(order);
      const answer = await Promise.race([answered, ended]);
      if ('error' in answer) throw new Error(answer.error);
      return answer.values;
    },
    close: () => child.disconnect(),
  };
}

const withP99 = (samples: number[]): Figures & { p99: number } => {
  const sorted = [...samples].sort((a, b) => a - b);
  return { ...figuresOf(samples), p99: sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN };
};

/** Who goes first takes turns as well. */
const orderOf = (round: number): readonly ContenderName[] =>
  round % 2 === 0 ? contenderNames : contenderNames.toReversed();

export async function benchTerminals(
  installation: Installation,
  report: (what: string) => void,
  scale: { rounds: number; mebibytes: number; samples: number },
): Promise<TerminalFigures> {
  const folder = await mkdtemp(join(tmpdir(), 'steelthread-terminal-bench-'));
  const file = join(folder, 'lines');
  const bytes = scale.mebibytes * MEBIBYTE;
  await writeFile(file, Buffer.alloc(bytes, `${'0123456789'.repeat(7)}abcdefghi\n`));
  const contenders = await startContenders(installation, join(folder, 'agent'));
  const client = startClient();
  const speeds = { ours: [] as number[], peer: [] as number[] };
  const echoes = { ours: [] as number[], peer: [] as number[] };
  const type = async (keys: number): Promise<void> => {
    for (let block = 0; block * BLOCK_KEYS < keys; block++) {
      for (const name of orderOf(block)) {
        echoes[name].push(...(await client.ask({ kind: 'type', name, keys: BLOCK_KEYS })));
      }
    }
  };
  try {
    for (const name of contenderNames) {
      report(`terminals: warming up (${name})`);
      const contender = contenders[name];
      await client.ask({ kind: 'print', contender, file, bytes });
      await client.ask({ kind: 'sit', contender, name });
      await client.ask({ kind: 'type', name, keys: WARM_UP_KEYS });
    }
    for (let round = 0; round < scale.rounds; round++) {
      report(`terminals: round ${round + 1} of ${scale.rounds}`);
      for (const name of orderOf(round)) {
        const [seconds = Number.NaN] = await client.ask({
          kind: 'print',
          contender: contenders[name],
          file,
          bytes,
        });
        speeds[name].push(scale.mebibytes / seconds);
      }
      await type(scale.samples);
    }
    for (const name of contenderNames) await client.ask({ kind: 'leave', name });
  } finally {
    client.close();
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

/** An agent and the peer, each a process of its own. */
async function startContenders(
  installation: Installation,
  agentHome: string,
): Promise<Record<ContenderName, Contender>> {
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
    AGENT_HOME: agentHome,
  };
  await installation.startPeer('terminal-agent', env, /terminal_agent_ready/);
  const peerUrl = (await installation.startPeer('pty-peer', {}, /pty_peer_ready (\S+)/))?.[1] ?? '';
  const url = `${installation.url.replace('http', 'ws')}/ws/terminal?binary=1&agent_id=${agent.agentId}`;
  return { peer: { url: peerUrl }, ours: { url, token: installation.token } };
}
