/** The API is killed under agents that keep no journal: nothing is sent twice, and everything ends. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { BatchView } from '../../contracts/commands.ts';
import { query } from '../../db/database.ts';
import { type ApiPart, createInstallation, type Installation } from '../support/installation.ts';
import { connectLegacyAgent, type Frame, type LegacyScript, legacyScripts } from '../support/legacy-agent.ts';

const AGENTS = 50;
const COMMANDS_OF_AGENT = 4;
const OUTPUT = 'line of output\n'.repeat(10_000);
const RECONNECT_PAUSE_MS = 100;

let installation: Installation;
let api: ApiPart;
let isOver = false;
/** Frames that brought a command, by the id in them. */
const received = new Map<string, number>();
/** Those that are answered on the next connection. */
const heldBack = new Set<string>();
const loops: Promise<void>[] = [];
const hangUps = new Set<() => void>();

beforeAll(async () => {
  installation = await createInstallation();
  api = await installation.startApi();
  await installation.startWorker();
});
afterAll(async () => {
  isOver = true;
  for (const hangUp of hangUps) hangUp();
  await Promise.all(loops);
  await installation?.close();
});

test('200 commands are out on 50 agents when the API is killed: each is sent at most once, and ends', async () => {
  const identities = await enrolAgents();
  identities.forEach((identity, at) => {
    const script = legacyScripts[at % legacyScripts.length];
    if (script !== undefined) loops.push(agentLoop(script, identity));
  });
  await installation.until(connectedCount, (count) => count === AGENTS, 'all to be connected');

  const agentIds = identities.map((identity) => identity.agentId);
  for (let at = 0; at < COMMANDS_OF_AGENT; at += 1) {
    const act = { command: `number ${at}`, timeoutMs: 60_000 };
    await installation.call<BatchView>('POST', '/v1/commands', { agentIds, act });
  }
  const isOut = () => received.size >= (AGENTS * COMMANDS_OF_AGENT) / 2;
  await installation.until(async () => isOut(), Boolean, 'half of the commands to be out');
  await api.kill();
  await api.start();

  const open = () =>
    query<{ count: number }>(
      installation.db,
      `select count(*) as count from commands where state in ('queued', 'sent', 'running')`,
    );
  await installation.until(open, (rows) => rows[0]?.count === 0, 'every command to end');
  const lateOnes = () =>
    query<{ count: number }>(
      installation.db,
      `select count(*) as count from commands
       where command_id = any(cast(:ids as uuid[])) and state = 'succeeded'`,
      { ids: [...heldBack] },
    );
  await installation.until(lateOnes, (rows) => rows[0]?.count === heldBack.size, 'late answers to count');

  const states = await query<{ state: string; count: number; bytes: number }>(
    installation.db,
    'select state, count(*) as count, max(stdout_bytes) as bytes from commands group by state',
  );
  expect(states.reduce((sum, row) => sum + row.count, 0)).toBe(AGENTS * COMMANDS_OF_AGENT);
  for (const row of states) expect(['succeeded', 'unknown']).toContain(row.state);
  expect([...received.values()].filter((count) => count > 1)).toEqual([]);
  const cut = await query<{ command_id: string }>(
    installation.db,
    `select c.command_id from commands c
     where c.state = 'succeeded' and (c.stdout_bytes <> :bytes or c.stdout_truncated
       or c.stdout_bytes <> (select sum(length(o.bytes)) from command_output o
                             where o.command_id = c.command_id and o.stream = 'stdout'))`,
    { bytes: OUTPUT.length },
  );
  expect(cut).toEqual([]);
});

/** An agent that comes back when it is cut off, and then gives the answers it could not give. */
async function agentLoop(script: LegacyScript, { agentId, agentToken }: Identity): Promise<void> {
  let owed: Frame[] = [];
  let arrivals = 0;
  while (!isOver) {
    const agent = await connectLegacyAgent(api.url, script.path(agentId), {
      authorization: `Bearer ${agentToken}`,
    });
    if (agent.readyState() !== 1) {
      await new Promise((resolve) => setTimeout(resolve, RECONNECT_PAUSE_MS));
      continue;
    }
    const hangUp = () => agent.cut();
    hangUps.add(hangUp);
    agent.send(script.register(agentId));
    for (const answer of owed) agent.send(answer);
    owed = [];
    const isFirst = arrivals === 0;
    agent.onFrame((frame) => {
      if (frame.type !== script.commandType) return;
      const id = String(script.commandOf(frame).id);
      const commandId = id.replace(/^ps_/, '');
      received.set(commandId, (received.get(commandId) ?? 0) + 1);
      arrivals += 1;
      const answer = script.result(id, { output: OUTPUT, success: true, code: 0 });
      if (isFirst && arrivals % 2 === 0) {
        heldBack.add(commandId);
        owed.push(answer);
      } else agent.send(answer);
    });
    await agent.closed;
    hangUps.delete(hangUp);
  }
}

interface Identity {
  agentId: string;
  agentToken: string;
}

async function enrolAgents(): Promise<Identity[]> {
  const { enrolmentToken } = await installation.call<{ enrolmentToken: string }>(
    'POST',
    '/v1/agents/enrolments',
    { maxUses: AGENTS },
  );
  const identities: Identity[] = [];
  for (let at = 0; at < AGENTS; at += 1) {
    const agentId = `legacy-${at}`;
    identities.push(
      await installation.call('POST', '/v1/agents/enrol', { enrolmentToken, hostname: agentId, agentId }),
    );
  }
  return identities;
}

async function connectedCount(): Promise<number> {
  const [row] = await query<{ count: number }>(
    installation.db,
    'select count(*) as count from agent_connections where bridge_id is not null',
  );
  return row?.count ?? 0;
}
