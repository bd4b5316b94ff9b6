/** Many agents in one process, as light as they can be: each answers every run frame with an outcome at once. */
import { randomBytes, randomUUID } from 'node:crypto';
import WebSocket from 'ws';
import {
  NO_DIGEST,
  PROTOCOL_VERSION,
  type RunFrame,
  type ServerFrame,
} from '../../contracts/agent-protocol.ts';
import { query } from '../../db/database.ts';
import { hashToken } from '../../domain/identity/opaque-tokens.ts';
import { resultFrame, startedFrame } from './scripted-agent.ts';
import type { System } from './system.ts';

/** Connection attempts under way at one time. */
const CONNECTING_AT_ONCE = 50;

export interface Fleet {
  agentIds: string[];
  /** Command id → how many run frames came for it. */
  runs: Map<string, number>;
  /** Resolves when every agent is connected. Agents alternate between the urls. */
  connect(urls: readonly string[]): Promise<void>;
  /** Every agent sends a presence report. */
  report(): void;
  /** This many agents connect once more, each beside its present socket. */
  reconnect(count: number, url: string): Promise<void>;
  close(): Promise<void>;
}

/** Enrols `size` agents straight in the database: a thousand requests would only measure enrolment. */
export async function createFleet(system: System, size: number): Promise<Fleet> {
  const identities = Array.from({ length: size }, (_, at) => ({
    agentId: `fleet-${at}`,
    token: `sta_${randomBytes(32).toString('base64url')}`,
    journalId: randomUUID(),
  }));
  const { db } = system.api.parts;
  const rows = JSON.stringify(
    identities.map(({ agentId, token }) => ({
      id: agentId,
      token_id: randomUUID(),
      hash: hashToken(token).toString('hex'),
    })),
  );
  await query(
    db,
    `insert into agents (id, hostname) select id, id from jsonb_to_recordset(cast(:rows as jsonb)) as r(id text)`,
    { rows },
  );
  await query(
    db,
    `insert into agent_tokens (id, agent_id, token_hash)
     select token_id, id, decode(hash, 'hex')
     from jsonb_to_recordset(cast(:rows as jsonb)) as r(id text, token_id uuid, hash text)`,
    { rows },
  );

  const runs = new Map<string, number>();
  const sockets = new Set<WebSocket>();
  const digests = new Map<string, string>();
  /** What was run has its result (again); what was never seen gets a tombstone. */
  const answerCancel = (ws: WebSocket, commandId: string): void => {
    const digest = digests.get(commandId);
    const result =
      digest === undefined
        ? resultFrame(
            { commandId, digest: NO_DIGEST },
            { outcome: 'canceled', exitCode: null, startedAt: null },
          )
        : resultFrame({ commandId, digest });
    ws.send(JSON.stringify(result));
  };
  const answer = (ws: WebSocket, run: RunFrame): void => {
    runs.set(run.commandId, (runs.get(run.commandId) ?? 0) + 1);
    digests.set(run.commandId, run.digest);
    ws.send(JSON.stringify(startedFrame(run)));
    ws.send(JSON.stringify(resultFrame(run)));
  };
  const open = (url: string, identity: (typeof identities)[number]) =>
    new Promise<void>((resolve, reject) => {
      const ws = new WebSocket(`${url.replace('http', 'ws')}/v1/agent`, {
        headers: { authorization: `Bearer ${identity.token}` },
        perMessageDeflate: false,
      });
      sockets.add(ws);
      ws.on('error', reject);
      ws.on('close', (code) => {
        sockets.delete(ws);
        reject(new Error(`${identity.agentId} was closed with ${code}`));
      });
      ws.on('open', () => ws.send(JSON.stringify(helloOf(identity))));
      ws.on('message', (data) => {
        const frame = JSON.parse(data.toString()) as ServerFrame;
        if (frame.type === 'welcome') resolve();
        else if (frame.type === 'run') answer(ws, frame);
        else if (frame.type === 'cancel') answerCancel(ws, frame.commandId);
      });
    });
  return {
    agentIds: identities.map((identity) => identity.agentId),
    runs,
    async connect(urls) {
      const waiting = identities.map((identity, at) => ({ identity, url: urls[at % urls.length] ?? '' }));
      const lane = async (): Promise<void> => {
        for (let next = waiting.pop(); next !== undefined; next = waiting.pop())
          await open(next.url, next.identity);
      };
      await Promise.all(Array.from({ length: CONNECTING_AT_ONCE }, lane));
    },
    report() {
      const frame = JSON.stringify({ type: 'presence', journalSeq: 0, running: 1, metrics: null });
      for (const ws of sockets) if (ws.readyState === ws.OPEN) ws.send(frame);
    },
    async reconnect(count, url) {
      const waiting = identities.slice(0, count);
      const lane = async (): Promise<void> => {
        for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) await open(url, next);
      };
      await Promise.all(Array.from({ length: CONNECTING_AT_ONCE }, lane));
    },
    async close() {
      const closed = [...sockets].map((ws) => new Promise((resolve) => ws.once('close', resolve)));
      for (const ws of sockets) ws.close();
      await Promise.all(closed);
    },
  };
}

const helloOf = ({ agentId, journalId }: { agentId: string; journalId: string }) => ({
  ...{ type: 'hello', protocol: PROTOCOL_VERSION, agentId, journalId, journalSeq: 0, delivery: 'websocket' },
  ...{ hostname: agentId, os: 'Linux', arch: 'x64', version: 'fleet' },
  ...{ capabilities: ['shell', 'argv'], shells: ['sh'], defaultShell: 'sh' },
});
