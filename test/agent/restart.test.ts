import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { buildAgentBundle } from '../../agent/build.ts';
import { bundledAgent } from './agent-fixture.ts';
import { restartScenarios } from './restart-scenarios.ts';

const folder = mkdtempSync(join(tmpdir(), 'steelthread-agent-file-'));
const file = join(folder, 'steelthread-agent.mjs');

beforeAll(() => buildAgentBundle(file));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

restartScenarios(bundledAgent(file));
