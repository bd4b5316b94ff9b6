/**
 * Workflow code must take every recorded history the way it went. When this fails after a change of `workflows/`, open
 * tasks would be stuck by the same change: guard it with `patched()`, or record again if nothing of it is in use yet.
 *
 * No scenario makes `carried-request-begun-by-an-older-worker`: a worker of before `carries-requests` wrote it.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { DeterminismViolationError } from '@temporalio/workflow';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../config.ts';
import { buildWorkflowBundle, findWorkflowBundle } from '../../worker/bundle.ts';
import { rolloutScenarios } from '../workflows/rollout-scenarios.ts';
import { scenarios } from '../workflows/scenarios.ts';
import { scheduleScenarios } from '../workflows/schedule-scenarios.ts';
import { urlAgentScenarios } from '../workflows/url-agent-scenarios.ts';
import { readHistories } from './histories.ts';

const histories = readHistories();
let code: string;

beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });
  const cacheDir = loadConfig('cli').steelthreadCache;
  const { codePath } = await findWorkflowBundle({ cacheDir, log: { info: () => undefined } });
  code = readFileSync(codePath, 'utf8');
});

describe('recorded histories', () => {
  it('exist for every scenario', () => {
    const names = histories.map(({ name }) => name);
    const all = [...scenarios, ...rolloutScenarios, ...scheduleScenarios, ...urlAgentScenarios];
    expect(names).toEqual(expect.arrayContaining(all.map(({ name }) => name)));
  });

  it.each(histories.map((recorded) => [recorded.name, recorded] as const))(
    '%s',
    async (_name, { history }) => {
      await Worker.runReplayHistory({ workflowBundle: { code } }, history);
    },
  );

  it('catch a workflow whose steps were put in another order', async () => {
    const workflowsPath = fileURLToPath(new URL('./reordered-task.ts', import.meta.url));
    const reordered = await buildWorkflowBundle(workflowsPath);
    const recorded = histories.find(({ name }) => name === 'approved-then-completed');
    await expect(
      Worker.runReplayHistory({ workflowBundle: { code: reordered } }, recorded?.history),
    ).rejects.toThrow(DeterminismViolationError);
  });
});
