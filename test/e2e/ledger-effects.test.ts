/** Outcomes on record against effects in the world (P1, P3): under loss, repetition, cancel and expiry. */
import { spawn } from 'node:child_process';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunFrame } from '../../contracts/agent-protocol.ts';
import type { CommandView } from '../../contracts/commands.ts';
import { expireQueued } from '../../domain/commands/overdue.ts';
import { createEffectLog, type EffectLog, findUntruths } from '../support/effects.ts';
import { isFinal, type Ledger, ledgerOf } from '../support/ledger.ts';
import { type LossyProxy, startLossyProxy } from '../support/lossy-proxy.ts';
import { connectScriptedAgent, resultFrame, type ScriptedAgent } from '../support/scripted-agent.ts';
import { type System, startSystem } from '../support/system.ts';

let system: System;
let ledger: Ledger;
let proxy: LossyProxy;

beforeAll(async () => {
  system = await startSystem({ worker: false });
  ledger = ledgerOf(system);
  proxy = await startLossyProxy(system.url);
});
afterAll(async () => {
  await system.close();
  await proxy.close();
});

const newEffectLog = async (): Promise<EffectLog> =>
  createEffectLog(await mkdtemp(join(system.env.STEELTHREAD_HOME ?? '', 'effects-')));
const untilEffects = (effects: EffectLog, ids: readonly string[]) =>
  system.until(
    async () => effects.counts(),
    (counts) => ids.every((id) => counts.has(id)),
    'the effects',
  );
const untilFinal = async (ids: readonly string[]): Promise<CommandView[]> => {
  const commands: CommandView[] = [];
  for (const id of ids) commands.push(await ledger.until(id, 'final'));
  return commands;
};
/** Start commands whose reports are lost, then cut the connection: the ledger must ask again. */
const runAndLoseReports = async (agentId: string, effects: EffectLog): Promise<string[]> => {
  proxy.loseReports();
  const ids: string[] = [];
  for (let count = 0; count < 5; count += 1)
    ids.push((await ledger.start(agentId, effects.command)).commandId);
  await untilEffects(effects, ids);
  for (const id of ids) expect((await ledger.command(id)).state).toBe('sent');
  proxy.cut();
  return ids;
};

describe('an agent with its journal', () => {
  it('runs nothing twice when all it reported was lost', async () => {
    const effects = await newEffectLog();
    const agent = await system.startAgent({ agentId: 'careful', url: proxy.url });
    const commands = await untilFinal(await runAndLoseReports(agent.agentId, effects));
    expect(commands.map((command) => command.state)).toEqual(Array(5).fill('succeeded'));
    expect(findUntruths(commands, effects.counts())).toEqual([]);
    await agent.close();
  });

  it('runs nothing twice when the API goes and comes again while it works', async () => {
    const effects = await newEffectLog();
    const port = new URL(system.url).port;
    const agent = await system.startAgent({ agentId: 'steady' });
    const ids: string[] = [];
    for (let count = 0; count < 12; count += 1)
      ids.push((await ledger.start(agent.agentId, `sleep 0.0${count}; ${effects.command}`)).commandId);
    system.env.LISTEN = `${port}:steel`;
    await system.restartApi();
    const commands = await untilFinal(ids);
    expect(commands.map((command) => command.state)).toEqual(Array(12).fill('succeeded'));
    expect(findUntruths(commands, effects.counts())).toEqual([]);
    await agent.close();
  });

  it('had no effect where the record says so: canceled before the start, expired, rejected', async () => {
    const effects = await newEffectLog();
    const { agentId, agentToken } = await system.enrol('absent');
    const canceled = await ledger.start(agentId, effects.command);
    await ledger.cancel(canceled.commandId);
    const brief = await ledger.start(agentId, effects.command, { expiryMs: 1000 });
    await system.until(
      async () => {
        await expireQueued(system.api.parts.domain, 10);
        return ledger.command(brief.commandId);
      },
      isFinal,
      'the expiry',
    );
    const rejected = await ledger.start(agentId, effects.command, { workingDirectory: '/does/not/exist' });
    const done = await ledger.start(agentId, effects.command);
    const agent = await system.startAgent({ agentId, token: agentToken });
    const commands = await untilFinal([canceled, brief, rejected, done].map((command) => command.commandId));
    expect(commands.map((command) => command.state)).toEqual([
      'canceled',
      'expired',
      'rejected',
      'succeeded',
    ]);
    expect(findUntruths(commands, effects.counts())).toEqual([]);
    await agent.close();
  });
});

describe('the checker', () => {
  /** Runs whatever run frame comes, whether it was here before or not. */
  const connectForgetful = async (given: { agentId: string; token: string; journalId?: string }) => {
    const agent: ScriptedAgent = await connectScriptedAgent({ url: proxy.url, ...given });
    const execute = (run: RunFrame): void => {
      const script = run.act.mode === 'shell' ? run.act.script : '';
      const child = spawn('sh', ['-c', script], { env: { STEELTHREAD_COMMAND_ID: run.commandId } });
      child.on('exit', () => agent.send(resultFrame(run)));
    };
    agent.onFrame((frame) => {
      if (frame.type === 'run') execute(frame);
    });
    for (const frame of agent.frames) if (frame.type === 'run') execute(frame);
    return agent;
  };

  it('finds the second effect when an agent forgets what it ran', async () => {
    const effects = await newEffectLog();
    const { agentId, agentToken } = await system.enrol('forgetful');
    const first = await connectForgetful({ agentId, token: agentToken });
    await first.take('welcome');
    const ids = await runAndLoseReports(agentId, effects);
    const again = await connectForgetful({ agentId, token: agentToken, journalId: first.journalId });
    const commands = await untilFinal(ids);
    expect(findUntruths(commands, effects.counts()).sort()).toEqual(
      ids.map((id) => `${id} (succeeded) had its effect 2 times`).sort(),
    );
    await again.close();
  });

  it('finds every other untruth', () => {
    const at = '2024-01-01T00:00:00.000Z';
    const of = (state: CommandView['state'], startedAt: string | null = null) => [
      { commandId: 'x', state, startedAt },
    ];
    const once = new Map([['x', 1]]);
    expect(findUntruths(of('succeeded', at), new Map())).toEqual(['x succeeded without its effect']);
    expect(findUntruths(of('expired'), once)).toEqual(['x is expired and had its effect']);
    expect(findUntruths(of('rejected'), once)).toEqual(['x is rejected and had its effect']);
    expect(findUntruths(of('canceled'), once)).toEqual(['x is canceled and had its effect']);
    expect(findUntruths([], once)).toEqual(['x had an effect and is on no record']);
    for (const state of ['succeeded', 'failed', 'timed_out', 'unknown', 'canceled'] as const)
      expect(findUntruths(of(state, at), once)).toEqual([]);
    expect(findUntruths(of('unknown'), new Map())).toEqual([]);
  });
});
