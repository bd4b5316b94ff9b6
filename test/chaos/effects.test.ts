/** The checker itself: an agent without de-duplication runs a re-offered command twice, and the checker says so. */
import { appendFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { BatchView } from '../../contracts/commands.ts';
import { createInstallation, type Installation } from '../support/installation.ts';
import { connectScriptedAgent, resultFrame, startedFrame } from '../support/scripted-agent.ts';
import { type Effects, openEffects } from './effects.ts';
import { findViolations, waitUntilQuiet } from './invariants.ts';

let installation: Installation;
let effects: Effects;
beforeAll(async () => {
  effects = openEffects();
  installation = await createInstallation();
  await installation.startApi();
  await installation.startWorker();
});
afterAll(async () => {
  await installation?.close();
  effects?.close();
});

test('a command that is started twice is found', async () => {
  const { agentId, agentToken } = await installation.startAgent({ start: false });
  const url = `http://127.0.0.1:${installation.port}`;
  const forgetful = { url, agentId, token: agentToken, journalId: '0199aa00-0000-7000-8000-000000000001' };
  const first = await connectScriptedAgent(forgetful);
  await first.take('welcome');
  const batch = await installation.call<BatchView>('POST', '/v1/commands', {
    agentIds: [agentId],
    act: { command: 'true' },
  });
  const commandId = batch.commands[0]?.commandId ?? '';
  await first.take('run');
  appendFileSync(effects.file, `${commandId}\n`);
  first.cut();
  await first.closed;

  const second = await connectScriptedAgent(forgetful);
  const offered = await second.take('run');
  expect(offered.commandId).toBe(commandId);
  appendFileSync(effects.file, `${commandId}\n`); // a journal would have refused
  second.send(startedFrame(offered));
  second.send(resultFrame(offered));
  await second.take('resultAck');
  await second.close();
  await waitUntilQuiet(installation);

  expect(await findViolations(installation, effects)).toEqual([
    `P1: succeeded command ${commandId} was started 2 times`,
    `P3: succeeded command ${commandId} had 2 effects`,
  ]);
});
